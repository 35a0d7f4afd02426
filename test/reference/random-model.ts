// Small models with random weights for the options and sizes that no golden covers: their oracle is forward.ts.
// Sizes are no multiples of 4, 8 or 32 on purpose. Weights are rounded to bfloat16, as the goldens' are, so that the
// written checkpoint holds them exactly.
import { mkdirSync, writeFileSync } from "node:fs";
import { configToJson, type Config } from "../../src/model/config.ts";
import { weightSpecs } from "../../src/model/weights.ts";
import { round_bf16 } from "./kernels.ts";
import { writeTensors, type Tensors } from "./safetensors.ts";

export interface RandomModel {
  config: Config;
  /** By Hugging Face's names without the leading `model.`, in Hugging Face's shapes. */
  tensors: Tensors;
  /** Random tokens, enough to go round the window more than twice. */
  tokens: Int32Array;
}

const base: Config = {
  vocabSize: 67,
  width: 36,
  lruWidth: 44,
  mlpWidth: 50,
  blockTypes: ["recurrent", "attention", "recurrent", "attention"],
  numHeads: 4,
  numKvHeads: 2,
  headDim: 12,
  window: 7,
  rotaryDim: 6,
  ropeTheta: 10_000,
  rmsNormEpsilon: 1e-6,
  logitsSoftCap: 30,
  activation: "gelu_tanh",
  embedScale: 6,
  tied: true,
  attentionBias: false,
  bosTokenId: 2,
  eosTokenIds: [1],
  padTokenId: 0,
};

/** Option combinations by name; each has its literal seed. */
export const randomModels = {
  two_kv_heads: { seed: 101, config: base },
  four_kv_heads_untied: {
    seed: 102,
    config: { ...base, numHeads: 8, numKvHeads: 4, lruWidth: 56, width: 52, embedScale: 7.21875, tied: false },
  },
  silu_uncapped_unscaled: {
    seed: 103,
    config: {
      ...base,
      numHeads: 3,
      numKvHeads: 3,
      lruWidth: 45,
      activation: "silu",
      logitsSoftCap: null,
      embedScale: 1,
    },
  },
  attention_bias: {
    seed: 104,
    config: { ...base, numKvHeads: 4, attentionBias: true, headDim: 10, rotaryDim: 10, window: 16 },
  },
  odd_sizes: {
    seed: 105,
    config: {
      ...base,
      vocabSize: 71,
      width: 37,
      lruWidth: 29,
      mlpWidth: 35,
      blockTypes: ["attention", "recurrent", "recurrent"],
      numHeads: 1,
      numKvHeads: 1,
      headDim: 7,
      rotaryDim: 2,
      window: 3,
      ropeTheta: 500,
      rmsNormEpsilon: 1e-5,
      logitsSoftCap: 5,
      embedScale: 6.09375,
    },
  },
} as const satisfies Record<string, { seed: number; config: Config }>;
export type RandomModelName = keyof typeof randomModels;
export const randomModelNames = Object.keys(randomModels) as RandomModelName[];

/** Uniform in [0, 1): mulberry32, the same on every machine. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** About normal, mean 0 and deviation 1: a sum of twelve uniforms, which needs no function whose last bit may vary. */
export function normal(seed: number): () => number {
  const next = uniform(seed);
  return () => Array.from({ length: 12 }, next).reduce((a, b) => a + b) - 6;
}

/** The random model of that name, always the same one. */
export function randomModel(name: RandomModelName): RandomModel {
  const { seed, config } = randomModels[name];
  return { ...randomWeights(config, seed), config };
}

/** A model of random sizes and options, up to three blocks, and tokens of a random number: the same for the same seed. */
export function randomShape(seed: number): RandomModel {
  const next = uniform(seed);
  const whole = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));
  const one = <T>(of: readonly T[]) => of[whole(0, of.length - 1)]!;
  const numHeads = one([1, 2, 3, 4, 6]);
  const headDim = 2 * whole(3, 12);
  const width = 2 * whole(10, 40);
  const config: Config = {
    ...base,
    vocabSize: whole(40, 150),
    width,
    lruWidth: numHeads * 2 * whole(3, 16),
    mlpWidth: 2 * whole(10, 50),
    blockTypes: one([
      ["recurrent", "attention"],
      ["attention", "recurrent"],
      ["recurrent", "attention", "recurrent"],
    ]),
    numHeads,
    numKvHeads: one([1, 2, 3, 4, 6].filter((heads) => numHeads % heads === 0)),
    headDim,
    window: whole(2, 24),
    rotaryDim: 2 * whole(1, headDim / 2),
    ropeTheta: one([500, 10_000, 1_000_000]),
    rmsNormEpsilon: one([1e-6, 1e-5]),
    logitsSoftCap: one([null, 5, 30]),
    activation: one(["gelu_tanh", "silu"]),
    embedScale: round_bf16(Math.sqrt(width)),
    tied: next() < 0.5,
    attentionBias: next() < 0.5,
  };
  const { tensors, tokens } = randomWeights(config, seed + 2);
  return { config, tensors, tokens: tokens.subarray(0, whole(4, tokens.length)) };
}

/** Random weights and tokens for any Config. */
export function randomWeights(config: Config, seed: number): Omit<RandomModel, "config"> {
  const random = normal(seed);
  const next = uniform(seed + 1);
  const deviation = (tensor: string, inputs: number): number => {
    if (tensor === "embed_tokens.weight" || tensor === "lm_head.weight") return 3 / Math.sqrt(config.width);
    if (tensor.endsWith("conv_1d.weight")) return 0.5;
    if (tensor.endsWith("_bias") || tensor.endsWith(".bias") || tensor.endsWith("norm.weight")) return 0.2;
    return 1 / Math.sqrt(inputs);
  };
  const tensors: Tensors = new Map();
  for (const { name, shape } of weightSpecs(config)) {
    const count = shape.reduce((a, b) => a * b, 1);
    const scale = deviation(name, shape.at(-1)!);
    // softplus of −7 … 1: decays from 0.999 down to nearly 0.
    const value = name.endsWith("recurrent_param") ? () => -7 + 8 * next() : () => scale * random();
    tensors.set(
      name,
      Float32Array.from({ length: count }, () => round_bf16(value())),
    );
  }
  const length = 2 * config.window + 9;
  return { tensors, tokens: Int32Array.from({ length }, () => Math.floor(next() * config.vocabSize)) };
}

/** Writes a model as a Hugging Face folder: config.json and model.safetensors, in bfloat16. */
export function writeHuggingFaceFolder(
  folder: string,
  { config, tensors }: Pick<RandomModel, "config" | "tensors">,
  dtype: "BF16" | "F32" = "BF16",
): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/config.json`, JSON.stringify(configToJson(config), null, 2));
  const files = weightSpecs(config).map(({ name, shape }) => ({
    name: name.startsWith("lm_head.") ? name : `model.${name}`,
    shape: name.endsWith("conv_1d.weight") ? [config.lruWidth, 1, 4] : shape,
    values: tensors.get(name)!,
  }));
  writeTensors(`${folder}/model.safetensors`, files, dtype);
}
