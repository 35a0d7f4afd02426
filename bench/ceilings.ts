// What this machine can do at best, in WASM, on one core: every kernel is shown as a share of it. Four small modules of
// AssemblyScript, compiled here as wasm/ is, because a ceiling must not come from another compiler.
import { reserve } from "../src/engine/memory.ts";
import { compile } from "../wasm/build.ts";
import type { Case } from "./kernels.ts";

/** Larger than any last-level cache we met; a sample walks all of it. */
export const memorySetBytes = 2 ** 30;
/** The name of the ceiling of reading memory. */
export const readMemory = "read memory";
/** Fits a second-level cache, and no first-level one. */
const cacheSetBytes = 2 ** 19;
const pageBytes = 2 ** 16;
/** Steps of a chain: about a millisecond. */
const steps = 100_000;

/** Cases that the others are measured against, by name, but for reading memory. */
export async function ceilings(): Promise<Case[]> {
  return [
    await readingCase("read cache", cacheSetBytes),
    ...(await Promise.all(["mul_add", "relaxed_madd", "relaxed_dot"].map(multiplyCase))),
  ];
}

/** Reading memory of its own. */
export const memoryCeiling = (): Promise<Case> => readingCase(readMemory, memorySetBytes);

async function readingCase(name: string, bytes: number): Promise<Case> {
  const { read, memory } = await load<"read">("read");
  reserve(memory, bytes + pageBytes);
  new Uint8Array(memory.buffer).fill(1);
  return { name, unit: "GB/s", work: bytes, call: () => void read(pageBytes, bytes) };
}

async function multiplyCase(name: string): Promise<Case> {
  const { macs_per_step, multiply } = await load<"macs_per_step" | "multiply">(name);
  return { name, unit: "GMAC/s", work: macs_per_step() * steps, call: () => void multiply(steps) };
}

type Exports<Name extends string> = Record<Name, (...args: number[]) => number> & { memory: WebAssembly.Memory };

async function load<Name extends string>(source: string): Promise<Exports<Name>> {
  const bytes = await compile(`../bench/wasm/${source}.ts`, "relaxed");
  const { instance } = await WebAssembly.instantiate(bytes, {});
  return instance.exports as Exports<Name>;
}
