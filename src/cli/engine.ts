// What the subcommands share: a checkpoint folder on disk, our kernels beside this program, Node's own SHA-256.
import { readFile } from "node:fs/promises";
import os from "node:os";
import { fileURLToPath } from "node:url";
import { openCheckpoint, type Checkpoint } from "../checkpoint/load.ts";
import { EdgeEngine, type EdgeOptions } from "../engine/edge.ts";
import { supportsRelaxedSimd } from "../engine/relaxed-simd.ts";
import { GriffinError } from "../errors.ts";
import { openFolder } from "./files.ts";
import { nodeHash } from "./hash.ts";
import { threads } from "./team.ts";

/** The kernels for this Node and so many threads, which the build puts beside this program. */
export async function kernelModule(members = 1): Promise<WebAssembly.Module> {
  const alone = supportsRelaxedSimd() ? "griffin-relaxed.wasm" : "griffin.wasm";
  const name = members > 1 ? "griffin-threads.wasm" : alone;
  const file = fileURLToPath(new URL(name, import.meta.url));
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new GriffinError("not_found", `There is no ${file}: run "npm run build".`, { cause });
  });
  return WebAssembly.compile(bytes);
}

/** The checkpoint in a folder. */
export function readCheckpoint(folder: string): Promise<Checkpoint> {
  return openCheckpoint(openFolder(folder), nodeHash);
}

/** Below that a model is said before others are told. */
const leastShared = 10_000_000;
const mostThreads = 4;

/** As many threads as there are cores, a few at most: what they share is the way to memory. */
async function usefulThreads(folder: string): Promise<number> {
  const { manifest } = await readCheckpoint(folder);
  return manifest.parameters < leastShared ? 1 : Math.min(os.availableParallelism(), mostThreads);
}

/** An engine with a folder's checkpoint loaded. */
export async function loadEngine(folder: string, options: EdgeOptions & { threads?: number }): Promise<EdgeEngine> {
  const members = supportsRelaxedSimd() ? (options.threads ?? (await usefulThreads(folder))) : 1;
  const team = members > 1 ? { team: threads(members) } : {};
  return EdgeEngine.load(await kernelModule(members), openFolder(folder), {
    ...options,
    ...team,
    createHash: nodeHash,
  });
}
