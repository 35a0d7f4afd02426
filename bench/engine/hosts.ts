// The same decoding in the hosts it runs in: Node; Node that checks the bounds of every access, as workerd does; workerd.
// Each is a process of its own that waits to be asked. Timed from outside, because a worker's clock may stand still.
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import type { Format } from "../../src/model/weights.ts";
import { named, shareOf } from "../figure.ts";
import { checkpointFolder } from "../models.ts";
import type { Section } from "../report.ts";
import { interleave, type Contender } from "../rounds.ts";
import type { Task } from "./host.ts";
import { startWorkerd } from "./workerd.ts";

const measured: readonly Format[] = ["int8", "int4"];
const ways = ["generate", "forward"] as const;
const model = "30M";
const tokens = 100;

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
  const { ask, stop } = await startWorkerd();
  return {
    name: "workerd",
    async run(task) {
      await (await ask(task)).arrayBuffer();
    },
    stop,
  };
}
