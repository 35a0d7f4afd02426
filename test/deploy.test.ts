// What `npm run deploy` would upload, by the dry run of the same command, against the limits of the hosted runtime.
import { mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { builtinModules } from "node:module";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readConfig } from "../src/cli/serve/config.ts";
import { wrangler } from "../src/cli/serve/wrangler.ts";

const root = path.resolve(import.meta.dirname, "..");

describe("a deployment", () => {
  const config = readConfig();
  let bundle: string;
  let files: string[];
  beforeAll(async () => {
    bundle = await mkdtemp(path.join(tmpdir(), "griffin-deploy-"));
    wrangler("deploy", "--dry-run", "--outdir", bundle);
    files = (await readdir(bundle)).filter((name) => /\.(js|wasm)$/.test(name));
  });
  afterAll(() => rm(bundle, { recursive: true, force: true }));

  it("uploads the worker and the kernels, in less than 10 MB after gzip", async () => {
    expect(files.map((name) => path.extname(name)).sort()).toEqual([".js", ".wasm"]);
    const sizes = await Promise.all(
      files.map(async (name) => gzipSync(await readFile(path.join(bundle, name))).byteLength),
    );
    const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
    expect(total).toBeGreaterThan(10_000);
    expect(total).toBeLessThan(10_000_000);
  });

  it("imports nothing but its own modules and cloudflare's, no Node built-in among them", async () => {
    const { metafile } = await build({
      entryPoints: [path.join(bundle, "worker.js")],
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      plugins: [
        {
          name: "everything is external",
          setup: ({ onResolve }) =>
            onResolve({ filter: /.*/ }, ({ kind, path: name }) =>
              kind === "entry-point" ? undefined : { path: name, external: true },
            ),
        },
      ],
    });
    const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map((entry) => entry.path));
    expect(imports).toContain("cloudflare:workers");
    expect(imports.filter((name) => name.startsWith("node:") || builtinModules.includes(name))).toEqual([]);
    expect(imports.filter((name) => !/^(cloudflare:\w+|\.\/[\w-]+\.wasm)$/.test(name))).toEqual([]);
  });

  it("has the page and a whole checkpoint among its static files, none above 25 MiB", async () => {
    const folder = path.join(root, config.assets?.directory ?? "");
    const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)));
    const checkpoint = ["graph.onnx", "weights.safetensors", "tokenizer.json", "model.json"];
    expect(names).toEqual(
      expect.arrayContaining([
        "index.html",
        "page.js",
        "style.css",
        ...checkpoint.map((name) => `models/pocket/${name}`),
      ]),
    );
    for (const name of names) {
      expect((await stat(path.join(folder, name))).size, name).toBeLessThanOrEqual(25 * 1024 * 1024);
    }
  });

  it("may use the processor as long as the platform allows, and runs on a date whose errors keep their code", () => {
    expect(config.limits).toEqual({ cpu_ms: 300_000 });
    expect(config.compatibility_date >= "2026-06-11").toBe(true);
    expect(config.compatibility_flags).toContain("enable_request_signal");
    expect(config.compatibility_flags.filter((flag) => flag.startsWith("nodejs"))).toEqual([]);
  });

  it("asks for keys unless it is told otherwise, and has no secret in it", () => {
    expect(Object.keys(config.vars)).toEqual(["MODELS"]);
  });

  it("keeps conversations in SQLite", () => {
    expect(config.durable_objects.bindings).toMatchObject([
      { name: "CONVERSATIONS", class_name: "Conversation" },
      { name: "NAMED_REQUESTS", class_name: "NamedRequest" },
      { name: "TENANTS", class_name: "Tenant" },
      { name: "TENANT_DIRECTORY", class_name: "TenantDirectory" },
      { name: "WEBHOOKS", class_name: "WebhookRegistry" },
      { name: "WEBHOOK_ENDPOINTS", class_name: "WebhookEndpoint" },
      { name: "BATCHES", class_name: "Batch" },
      { name: "BATCH_REGISTRIES", class_name: "BatchRegistry" },
      { name: "HOOKS", class_name: "Hook" },
      { name: "HOOK_REGISTRIES", class_name: "HookRegistry" },
    ]);
    const classes = config.migrations.flatMap((migration) => migration.new_sqlite_classes ?? []);
    expect(classes).toEqual([
      "Conversation",
      "NamedRequest",
      "Tenant",
      "TenantDirectory",
      "WebhookRegistry",
      "WebhookEndpoint",
      "Batch",
      "BatchRegistry",
      "Hook",
      "HookRegistry",
    ]);
  });
});
