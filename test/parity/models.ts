// Checkpoints and engines for whole-model tests: goldens and random models, converted by our own code into memory.
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { convert } from "../../src/checkpoint/convert.ts";
import { folderSource } from "../../src/cli/files.ts";
import { EdgeEngine, type EdgeOptions } from "../../src/engine/edge.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { Config } from "../../src/model/config.ts";
import type { Format } from "../../src/model/weights.ts";
import { entryValues, type KvDtype, type State } from "../../src/model/state.ts";
import { build } from "../../wasm/build.ts";
import { opener, target, type Folder } from "../checkpoint/folders.ts";
import { goldenNames, readGolden, type GoldenName } from "../reference/golden.ts";
import {
  randomModel,
  randomWeights,
  writeHuggingFaceFolder,
  type RandomModel,
  type RandomModelName,
} from "../reference/random-model.ts";

/** Formats that hold a bf16 model exactly, so that it can be compared with the reference. */
export const exactFormats = ["f32", "bf16"] as const satisfies Format[];

/** A model of ours to test with: its checkpoint in memory, and tokens that go round its window twice. */
export function testModel(name: TestModelName) {
  const [model, format, kv] = testModels[name];
  const { config, tokens } = isGolden(model) ? readGolden(model) : randomModel(model);
  return {
    config,
    tokens: Array.from(tokens),
    window: config.window,
    checkpoint: () => checkpointFolder(model, format, kv),
  };
}

/** The checkpoint of a golden or a random model. */
export async function checkpointFolder(
  name: GoldenName | RandomModelName,
  format: Format,
  kv: KvDtype = "f32",
): Promise<Folder> {
  if (isGolden(name)) return checkpointOf(readGolden(name).folder, format, kv);
  return convertModel(randomModel(name), format, kv);
}

/** The checkpoint of a Config with random weights. */
export function randomFolder(config: Config, seed: number): Promise<Folder> {
  return convertModel({ config, ...randomWeights(config, seed) }, "f32", "f32");
}

/** The checkpoint of a model that is in memory. */
export async function convertModel(
  model: Pick<RandomModel, "config" | "tensors">,
  format: Format,
  kv: KvDtype,
): Promise<Folder> {
  const folder = mkdtempSync(path.join(tmpdir(), "griffin-"));
  try {
    writeHuggingFaceFolder(folder, model);
    return await checkpointOf(folder, format, kv);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const isGolden = (name: string): name is GoldenName => name === "pocket" || goldenNames.some((known) => known === name);

const testModels = {
  tiny: ["tiny", "f32", "f32"],
  wide: ["wide", "bf16", "f32"],
  oneblock: ["oneblock", "f32", "f32"],
  two_kv_heads: ["two_kv_heads", "bf16", "f32"],
  four_kv_heads_untied: ["four_kv_heads_untied", "f32", "f32"],
  silu_uncapped_unscaled: ["silu_uncapped_unscaled", "f32", "f32"],
  attention_bias: ["attention_bias", "bf16", "f32"],
  odd_sizes: ["odd_sizes", "f32", "f32"],
  "wide in int8": ["wide", "int8", "f32"],
  "wide in int4": ["wide", "int4", "f32"],
  "four_kv_heads_untied in int4": ["four_kv_heads_untied", "int4", "bf16"],
  "odd_sizes in int8": ["odd_sizes", "int8", "f32"],
  "wide with a bf16 window": ["wide", "f32", "bf16"],
  "two_kv_heads with a bf16 window": ["two_kv_heads", "bf16", "bf16"],
} as const satisfies Record<string, readonly [GoldenName | RandomModelName, Format, KvDtype]>;
export type TestModelName = keyof typeof testModels;
export const testModelNames = Object.keys(testModels) as TestModelName[];

/** The modules, built first where they are older than their sources. Tests run the one that hosts choose. */
export const plainModule = await WebAssembly.compile(await readFile(await build("plain")));
export const kernelModule = await WebAssembly.compile(await readFile(await build("relaxed")));

/** A Hugging Face folder on disk, converted. */
export async function checkpointOf(huggingFaceFolder: string, format: Format, kv: KvDtype = "f32"): Promise<Folder> {
  const folder: Folder = new Map();
  await convert(folderSource(huggingFaceFolder), target(folder), { format, kv });
  return folder;
}

/** An engine with that checkpoint; it computes logits of up to 64 tokens at once. */
export function engineOf(folder: Folder, options: EdgeOptions = {}): Promise<EdgeEngine> {
  return EdgeEngine.load(kernelModule, opener(folder, 60_000), { logitsTokens: 64, ...options });
}

/** All logits [T, V] of `tokens` read in chunks of `chunkTokens`, and the state after them. */
export async function score(engine: EdgeEngine, tokens: ArrayLike<number>, chunkTokens = 64, from?: State) {
  const logits = new Float32Array(tokens.length * engine.config.vocabSize);
  const chunks = engine.score(Array.from(tokens), { chunkTokens, state: from });
  let at = 0;
  let next = await chunks.next();
  for (; !next.done; next = await chunks.next()) {
    logits.set(next.value, at);
    at += next.value.length;
  }
  return { logits, state: next.value };
}

/** A state's entries by name, in f32. */
export function entriesOf(engine: EdgeEngine, state: State): Map<string, Float32Array> {
  return new Map(engine.instance.stateLayout.entries.map((entry) => [entry.name, entryValues(state, entry)]));
}

/** The largest |a − b|; NaN if either has one or the lengths differ. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return NaN;
  let max = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] ?? NaN) - (b[i] ?? NaN));
    if (!(difference <= max)) max = difference;
  }
  return max;
}

/** The bytes of numbers, to compare bits instead of values. */
export const bitsOf = (values: Float32Array | Uint8Array) =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

/** Runs a turn to its end: its tokens, text and result. */
export async function reply(engine: Engine, ...turn: Parameters<Engine["generate"]>) {
  const events = engine.generate(...turn);
  const generated = [];
  let next = await events.next();
  for (; !next.done; next = await events.next()) generated.push(next.value);
  const text = generated.map((event) => event.text).join("") + next.value.text;
  return { tokens: generated.map(({ token }) => token), generated, text, result: next.value };
}
