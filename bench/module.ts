// The kernels that this Node runs, built first where they are older than their sources.
import { readFile } from "node:fs/promises";
import { supportsRelaxedSimd } from "../src/engine/relaxed-simd.ts";
import { build } from "../wasm/build.ts";

export async function kernelModule(): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(await build(supportsRelaxedSimd() ? "relaxed" : "plain")));
}
