// The kernels that this Node runs, alone or on several threads, built first where they are older than their sources.
import { readFile } from "node:fs/promises";
import { supportsRelaxedSimd } from "../src/engine/relaxed-simd.ts";
import { build } from "../wasm/build.ts";

export async function kernelModule(threads = 1): Promise<WebAssembly.Module> {
  const alone = supportsRelaxedSimd() ? "relaxed" : "plain";
  return WebAssembly.compile(await readFile(await build(threads > 1 ? "threads" : alone)));
}
