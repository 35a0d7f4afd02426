// What `workerd serve` runs: the bundle that a deployment uploads, unchanged, and a configuration made from wrangler.toml.
// Static files come from src/cli/serve/assets.ts; the other bindings that workerd does not have are listed as missing.
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import * as esbuild from "esbuild";
import { unstable_readConfig } from "wrangler";
import { settings } from "./settings.ts";
import { configFile, missingFile } from "./workerd.ts";
import { wrangler } from "./wrangler.ts";

const root = path.resolve(import.meta.dirname, "../../..");
const bundle = path.join(root, "dist/worker");
const output = path.dirname(configFile);

/** What of wrangler.toml is looked at here. */
export interface WranglerConfig {
  name: string;
  compatibility_date: string;
  compatibility_flags: string[];
  assets?: { directory: string; binding: string };
  durable_objects: { bindings: { name: string; class_name: string }[] };
  migrations: { new_sqlite_classes?: string[] }[];
  vars: Record<string, unknown>;
  limits?: { cpu_ms?: number };
  r2_buckets: { binding: string }[];
  kv_namespaces: { binding: string }[];
  queues: { producers?: { binding: string }[]; consumers?: { queue: string }[] };
}

/** wrangler.toml as wrangler understands it, its defaults filled in. */
export const readConfig = (): WranglerConfig => unstable_readConfig({ config: path.join(root, "wrangler.toml") });

/** Bundles the worker into dist/worker and writes what workerd needs to run it into dist/workerd. */
export async function bundleWorker(): Promise<void> {
  // wrangler leaves old files in its output folder, under names with hashes.
  await rm(bundle, { recursive: true, force: true });
  wrangler("deploy", "--dry-run", "--outdir", bundle);
  const assets = await readFile(path.join(import.meta.dirname, "assets.ts"), "utf8");
  const { code } = await esbuild.transform(assets, { loader: "ts" });
  await mkdir(output, { recursive: true });
  await writeFile(path.join(output, "assets.js"), code);
  const config = readConfig();
  await writeFile(missingFile, JSON.stringify(missingBindings(config)));
  await writeFile(configFile, workerdConfig(config, await readdir(bundle)));
}

// A Cap'n Proto text literal is written as JSON writes a string.
const text = (value: unknown): string => JSON.stringify(value);
const json = (value: unknown): string => text(JSON.stringify(value));
const list = (items: string[]): string => `[\n${items.map((item) => `    ${item},\n`).join("")}  ]`;

function workerdConfig(config: WranglerConfig, files: string[]): string {
  const { assets, durable_objects, vars } = config;
  if (assets === undefined) throw new Error("wrangler.toml has no [assets].");
  const bindings = [
    `(name = ${text(assets.binding)}, service = "assets")`,
    ...durable_objects.bindings.map(
      (object) => `(name = ${text(object.name)}, durableObjectNamespace = ${text(object.class_name)})`,
    ),
    ...Object.entries(vars).map(([name, value]) =>
      typeof value === "string"
        ? `(name = ${text(name)}, text = ${text(value)})`
        : `(name = ${text(name)}, json = ${json(value)})`,
    ),
    // The operator's own services may be on this machine, where workerd lets the worker reach nothing by itself.
    `(name = "MODERATOR", service = "operator")`,
    `(name = "ORIGIN", service = "operator")`,
    // Webhooks use it in development alone: else they go where the worker may by itself, the public internet.
    `(name = "NEIGHBOURS", service = "neighbours")`,
    ...settings
      .filter((name) => !(name in vars))
      .map((name) => `(name = ${text(name)}, fromEnvironment = ${text(name)})`),
  ];
  const namespaces = durable_objects.bindings.map(
    ({ class_name: name }) =>
      `(className = ${text(name)}, uniqueKey = ${text(`${config.name}-${name}`)}, enableSql = true)`,
  );
  return `# Generated from wrangler.toml by src/cli/serve/config.ts.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "assets", worker = .assets),
    (name = "operator", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    # "local": addresses of this machine alone, whatever name resolves to them.
    (name = "neighbours", network = (allow = ["public", "local"], tlsOptions = (trustBrowserCas = true))),
    (name = "files", disk = (path = ${text(path.join(root, assets.directory))})),
    # Where the conversations are: --directory-path storage=FOLDER.
    (name = "storage", disk = (writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  modules = ${list(modulesOf(files))},
  compatibilityDate = ${text(config.compatibility_date)},
  compatibilityFlags = ${text(config.compatibility_flags)},
  durableObjectNamespaces = ${list(namespaces)},
  durableObjectStorage = (localDisk = "storage"),
  bindings = ${list(bindings)},
);

const assets :Workerd.Worker = (
  modules = [(name = "assets.js", esModule = embed "assets.js")],
  compatibilityDate = ${text(config.compatibility_date)},
  bindings = [(name = "FILES", service = "files")],
);
`;
}

/** The files of the bundle, the main module first. */
function modulesOf(files: string[]): string[] {
  const code = files.filter((file) => /\.(js|wasm)$/.test(file));
  const ordered = code.toSorted((a, b) => Number(b === "worker.js") - Number(a === "worker.js"));
  return ordered.map((file) => {
    const kind = file.endsWith(".wasm") ? "wasm" : "esModule";
    return `(name = ${text(file)}, ${kind} = embed ${text(`../worker/${file}`)})`;
  });
}

/** Bindings of wrangler.toml that the hosted runtime and wrangler dev have, and workerd alone has not. */
function missingBindings(config: WranglerConfig): string[] {
  return [
    ...config.r2_buckets.map(({ binding }) => `${binding} (R2)`),
    ...config.kv_namespaces.map(({ binding }) => `${binding} (KV)`),
    ...(config.queues.producers ?? []).map(({ binding }) => `${binding} (Queues)`),
    ...(config.queues.consumers ?? []).map(({ queue }) => `consumer of ${queue} (Queues)`),
  ];
}
