// Every kernel by itself, as a share of what this machine can do at best. Matrices are 2560 × 2560, as in
// RecurrentGemma-2B: for one token from a set of them that no cache holds, for 64 tokens again and again the next one.
// Bytes of a matrix are those in memory, scales included.
import { instantiateKernels, type KernelName, type Kernels } from "../src/engine/kernels.ts";
import { reserve } from "../src/engine/memory.ts";
import { formats, type Format } from "../src/model/weights.ts";
import { compile, type Variant } from "../wasm/build.ts";
import { ceilings, memorySetBytes, readMemory } from "./ceilings.ts";
import { named, type Figure } from "./figure.ts";
import type { Section } from "./report.ts";
import { interleave, secondsOf } from "./rounds.ts";
import { vectorCases } from "./vector-kernels.ts";

/** Something that can be called again and again, and how much it does. */
export interface Case {
  name: string;
  unit: "GB/s" | "GMAC/s" | "µs";
  /** Bytes or multiplications of a call: what its ceiling counts. */
  work: number;
  call(): void;
  /** What bounds it, the nearest bound first. */
  ceilings?: readonly string[];
}

const width = 2560;
const chunkTokens = 64;
/** Samples are short, so there can be many. */
const rounds = 21;

/** How the kernel of a format is called, and what a weight takes in memory. */
const linears: Record<Format, { kernel: KernelName; bytesPerWeight: number }> = {
  f32: { kernel: "linear_f32", bytesPerWeight: 4 },
  bf16: { kernel: "linear_bf16", bytesPerWeight: 2 },
  // Blocks of 32 in panels of 4 rows, each with 4 scales.
  int8: { kernel: "linear_i8", bytesPerWeight: 144 / 128 },
  int4: { kernel: "linear_i4", bytesPerWeight: 80 / 128 },
};
const isQuantized = (format: Format) => format === "int8" || format === "int4";

export async function measureKernels(): Promise<Section[]> {
  const relaxed = await workbench("relaxed");
  const plain = await workbench("plain");
  const [read, readPlain] = [readCase(relaxed), readCase(plain, ", again")];
  const cases = [
    read,
    readPlain,
    ...(await ceilings()),
    ...formats.flatMap((format) => linearCases(relaxed, format, read)),
    ...formats.filter(isQuantized).flatMap((format) => linearCases(plain, format, readPlain, ", without relaxed SIMD")),
    ...vectorCases(relaxed),
  ];
  const seconds = await interleave(
    cases.map(({ name, call }) => ({ name, unit: "s", measure: () => secondsOf(call) })),
    rounds,
  );
  const figures = cases.map((each) => figureOf(each, cases, seconds));
  const of = (unit: Case["unit"], hasCeiling: boolean) =>
    figures.filter((figure, i) => figure.unit === unit && (cases[i]?.ceilings !== undefined) === hasCeiling);
  return [
    { title: "Ceilings of one core", figures: [...of("GB/s", false), ...of("GMAC/s", false)] },
    { title: `Matrices of ${width} × ${width}, one token, from memory`, figures: of("GB/s", true) },
    { title: `Matrices of ${width} × ${width}, ${chunkTokens} tokens`, figures: of("GMAC/s", true) },
    { title: `The other kernels, one token of width ${width}`, figures: of("µs", true) },
  ];
}

/** Seconds of a call as what the case is shown in, and as shares of its ceilings. */
function figureOf(
  { name, unit, work, ceilings: bounds = [] }: Case,
  all: readonly Case[],
  seconds: readonly Figure[],
): Figure {
  const { values } = named(seconds, name);
  const shares = bounds.map((bound) => {
    const boundWork = all.find((each) => each.name === bound)?.work ?? NaN;
    const boundSeconds = named(seconds, bound).values;
    return {
      of: `of ${bound}`,
      values: values.map((value, round) => work / value / (boundWork / (boundSeconds[round] ?? NaN))),
    };
  });
  return { name, unit, values: values.map((value) => (unit === "µs" ? value * 1e6 : work / value / 1e9)), shares };
}

/** Kernels with a set of weights and room for operands in their memory. */
export interface Workbench {
  /** With the ceiling of reading among them: how fast memory is depends on which pages it was given. */
  kernels: Kernels & { read(ptr: number, bytes: number): void };
  /** Address of `memorySetBytes` bytes that are numbers in every format. */
  setPtr: number;
  /** Address of so many f32 between −1 and 1. */
  operand(count: number): number;
}

const operandsBytes = 2 ** 24;

async function workbench(variant: Variant): Promise<Workbench> {
  const source = `export * from "./index"; export { read } from "../bench/wasm/read";`;
  const module = await WebAssembly.compile(await compile("workbench.ts", variant, source));
  const kernels = (await instantiateKernels(module)) as Workbench["kernels"];
  const setPtr = kernels.heap_base() + operandsBytes;
  reserve(kernels.memory, setPtr + memorySetBytes);
  // Small positive f32 and bf16, and therefore scales, whichever bytes come together; seven-bit int8; some int4.
  const set = new Uint8Array(kernels.memory.buffer, setPtr, memorySetBytes);
  const noise = Uint8Array.from({ length: 2 ** 16 - 1 }, () => 0x3c + Math.floor(3 * Math.random()));
  for (let at = 0; at < set.length; at += noise.length) set.set(noise.subarray(0, set.length - at), at);
  let nextPtr = kernels.heap_base();
  const operand = (count: number) => {
    const ptr = nextPtr;
    nextPtr += Math.ceil(count / 4) * 16;
    if (nextPtr > setPtr) throw new Error(`The operands take more than ${operandsBytes} bytes.`);
    new Float32Array(kernels.memory.buffer, ptr, count).forEach((_, i, to) => (to[i] = 2 * Math.random() - 1));
    return ptr;
  };
  return { kernels, setPtr, operand };
}

/** Reading the weights, and nothing else. */
const readCase = ({ kernels, setPtr }: Workbench, suffix = ""): Case => ({
  name: `${readMemory}${suffix}`,
  unit: "GB/s",
  work: memorySetBytes,
  call: () => void kernels.read(setPtr, memorySetBytes),
});

function linearCases({ kernels, setPtr, operand }: Workbench, format: Format, reading: Case, suffix = ""): Case[] {
  const { kernel, bytesPerWeight } = linears[format];
  const bytes = width * width * bytesPerWeight;
  const count = Math.floor(memorySetBytes / bytes);
  const [y, x, bias] = [operand(chunkTokens * width), operand(chunkTokens * width), operand(width)];
  const scratch = operand(kernels.linear_q_scratch(chunkTokens, width) / 4);
  let next = 0;
  const multiply = (tokens: number) => {
    const weight = setPtr + (next++ % count) * bytes;
    if (isQuantized(format)) kernels[kernel](y, x, weight, bias, scratch, tokens, width, width, width, 0, 0);
    else kernels[kernel](y, x, weight, bias, tokens, width, width, width, 0, 0);
  };
  return [
    {
      name: `${format}${suffix}`,
      unit: "GB/s",
      work: bytes,
      call: () => multiply(1),
      ceilings: [reading.name],
    },
    {
      name: `${format}, ${chunkTokens} tokens${suffix}`,
      unit: "GMAC/s",
      work: chunkTokens * width * width,
      call: () => multiply(chunkTokens),
      ceilings: isQuantized(format) ? ["relaxed_dot"] : ["mul_add", "relaxed_madd"],
    },
  ];
}
