// The same decoding in the hosts it runs in: Node; Node that checks the bounds of every access, as workerd does; workerd.
// Each is a process of its own that waits to be asked. Timed from outside, because a worker's clock may stand still.
import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import * as esbuild from "esbuild";
import type { Format } from "../../src/model/weights.ts";
import { build } from "../../wasm/build.ts";
import { named, shareOf } from "../figure.ts";
import { cacheFolder, checkpointFolder } from "../models.ts";
import type { Section } from "../report.ts";
import { interleave, type Contender } from "../rounds.ts";
import type { Task } from "./host.ts";

const measured: readonly Format[] = ["int8", "int4"];
const ways = ["generate", "forward"] as const;
const model = "30M";
const tokens = 100;
const root = path.resolve(import.meta.dirname, "../..");
const compatibilityDate = "2026-10-01";

interface Host {
  name: string;
  run(task: Task): Promise<void>;
  stop(): void;
}

export async function measureHosts(): Promise<Section[]> {
  const folders = new Map<Format, string>();
  for (const format of measured) folders.set(format, path.basename(await checkpointFolder(model, format)));
  const hosts = [
    nodeHost("Node", []),
    nodeHost("Node with bounds checks", ["--wasm-enforce-bounds-checks"]),
    await workerdHost(),
  ];
  try {
    const contenders = measured.flatMap((format) =>
      ways.flatMap((through) =>
        hosts.map(({ name, run }): Contender => ({
          name: `${format}, ${through}, ${name}`,
          unit: "tokens/s",
          async measure() {
            const startMs = performance.now();
            await run({ folder: folders.get(format) ?? "", tokens, through });
            return tokens / ((performance.now() - startMs) / 1000);
          },
        })),
      ),
    );
    const figures = await interleave(contenders);
    const compared = figures.map((figure) => {
      const [format = "", through = ""] = figure.name.split(", ");
      const inNode = named(figures, `${format}, ${through}, Node`);
      return figure === inNode ? figure : { ...figure, shares: [shareOf(figure, inNode, "of Node")] };
    });
    return [
      { title: `Decode in other hosts, 30 M parameters, ${tokens} tokens from a stored state`, figures: compared },
    ];
  } finally {
    for (const host of hosts) host.stop();
  }
}

function nodeHost(name: string, execArgv: string[]): Host {
  const child = fork(path.join(import.meta.dirname, "node-host.ts"), { execArgv });
  return {
    name,
    async run(task) {
      child.send(task);
      await answer(child);
    },
    stop: () => void child.kill(),
  };
}

/** The next message of a child; fails when it ends instead. */
async function answer(child: ChildProcess): Promise<void> {
  const waiting = new AbortController();
  const ended = once(child, "exit", { signal: waiting.signal }).then(([code]) => {
    throw new Error(`A host ended with status ${code}.`);
  });
  try {
    await Promise.race([once(child, "message", { signal: waiting.signal }), ended]);
  } finally {
    ended.catch(() => undefined);
    waiting.abort();
  }
}

async function workerdHost(): Promise<Host> {
  const folder = path.join(cacheFolder, "workerd");
  await mkdir(folder, { recursive: true });
  await esbuild.build({
    entryPoints: [path.join(import.meta.dirname, "worker-host.ts")],
    outfile: path.join(folder, "worker.js"),
    bundle: true,
    format: "esm",
    target: "es2022",
    plugins: [wasmBeside],
    logLevel: "warning",
  });
  await writeFile(path.join(folder, "config.capnp"), workerdConfig(await build("relaxed")));
  const args = ["serve", path.join(folder, "config.capnp"), "--socket-addr=http=127.0.0.1:0", "--control-fd=3"];
  const child = spawn(path.join(root, "node_modules/.bin/workerd"), args, {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  process.once("exit", () => void child.kill("SIGKILL"));
  const port = await listeningPort(child.stdio[3] as Readable);
  return {
    name: "workerd",
    async run(task) {
      const response = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: JSON.stringify(task) });
      if (!response.ok) throw new Error(`workerd: ${await response.text()}`);
      await response.arrayBuffer();
    },
    stop: () => void child.kill("SIGKILL"),
  };
}

/** Modules of WASM stay files beside the bundle: workerd takes no others. */
const wasmBeside: esbuild.Plugin = {
  name: "wasm-beside",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\.wasm$/ }, (module) => ({ path: `./${path.basename(module.path)}`, external: true })),
};

/** workerd says on its control descriptor where it listens, one JSON object a line. */
async function listeningPort(control: Readable): Promise<number> {
  for await (const line of createInterface({ input: control })) {
    const message = JSON.parse(line) as { event: string; port?: number };
    if (message.event === "listen" && message.port !== undefined) return message.port;
  }
  throw new Error("workerd ended before it listened.");
}

const workerdConfig = (wasm: string) => `# Generated by bench/engine/hosts.ts.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "files", disk = (path = ${JSON.stringify(path.join(cacheFolder, "checkpoints"))})),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "griffin-relaxed.wasm", wasm = embed ${JSON.stringify(path.relative(path.join(cacheFolder, "workerd"), wasm))}),
  ],
  compatibilityDate = ${JSON.stringify(compatibilityDate)},
  bindings = [(name = "FILES", service = "files")],
);
`;
