// What the subcommands share: a checkpoint folder on disk, our kernels beside this program, Node's own SHA-256.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { openCheckpoint, type Checkpoint } from "../checkpoint/load.ts";
import { EdgeEngine, type EdgeOptions } from "../engine/edge.ts";
import { supportsRelaxedSimd } from "../engine/relaxed-simd.ts";
import { GriffinError } from "../errors.ts";
import { openFolder } from "./files.ts";
import { nodeHash } from "./hash.ts";

/** The kernels for this Node, which the build puts beside this program. */
export async function kernelModule(): Promise<WebAssembly.Module> {
  const name = supportsRelaxedSimd() ? "griffin-relaxed.wasm" : "griffin.wasm";
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

/** An engine with a folder's checkpoint loaded. */
export async function loadEngine(folder: string, options: EdgeOptions = {}): Promise<EdgeEngine> {
  return EdgeEngine.load(await kernelModule(), openFolder(folder), { ...options, createHash: nodeHash });
}
