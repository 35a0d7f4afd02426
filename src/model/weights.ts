// The weights a Config needs: names, shapes and which of them are matrices, in the order the graph uses them; and what
// each of them is stored as. Names are Hugging Face's without the leading `model.`; only the convolution changes its
// shape, to [tap, R].
import type { Config } from "./config.ts";

/** What the matrices of a model are stored in. */
export const formats = ["f32", "bf16", "int8", "int4"] as const;
export type Format = (typeof formats)[number];

/** What an element of a stored tensor is. */
export type ElementType = "f32" | "bf16" | "i8" | "i4";

export const elementBits = { f32: 32, bf16: 16, i8: 8, i4: 4 } as const satisfies Record<ElementType, number>;

/** Bytes of a tensor. Elements of int4 lie two a byte, the first one in the low nibble. */
export const tensorBytes = (dtype: ElementType, shape: readonly number[]): number =>
  Math.ceil((shape.reduce((product, dim) => product * dim, 1) * elementBits[dtype]) / 8);

/** Consecutive elements of a quantised matrix's row that share a scale. */
export const blockSize = 32;

/** A tensor as it is stored. */
export interface StoredSpec {
  name: string;
  dtype: ElementType;
  shape: readonly number[];
}

const matrixType = { f32: "f32", bf16: "bf16", int8: "i8", int4: "i4" } as const satisfies Record<Format, ElementType>;

export type QuantizedType = "i8" | "i4";

export const isQuantized = (dtype: ElementType): dtype is QuantizedType => dtype === "i8" || dtype === "i4";

/** What a weight is in a checkpoint of this format: a tensor, and where it is quantised its scales [rows, blocks]. */
export function storedSpecs(
  { name, shape, matrix }: WeightSpec,
  format: Format,
): [StoredSpec] | [StoredSpec, StoredSpec] {
  const dtype = matrix ? matrixType[format] : "f32";
  const stored: StoredSpec = { name, dtype, shape };
  if (!isQuantized(dtype)) return [stored];
  const [rows = 0, columns = 0] = shape;
  return [stored, { name: scaleName(name), dtype: "f32", shape: [rows, Math.ceil(columns / blockSize)] }];
}

/** The tensor that holds a quantised matrix's scales. */
export const scaleName = (matrix: string): string => `${matrix}_scale`;

/** One tensor of a checkpoint. */
export interface WeightSpec {
  name: string;
  shape: readonly number[];
  /** The weight of a `linear` or the table of an `embed`: may be stored narrower than f32. */
  matrix: boolean;
}

/** Taps of the causal convolution: the current token and the three before it. */
export const convTaps = 4;

/** Every weight of a model, in execution order. */
export function weightSpecs(config: Config): WeightSpec[] {
  const { width, lruWidth, mlpWidth, numHeads, headDim } = config;
  const kvWidth = config.numKvHeads * headDim;
  const gateSize = lruWidth / numHeads;
  const specs: WeightSpec[] = [];
  const vector = (name: string, ...shape: number[]) => specs.push({ name, shape, matrix: false });
  const matrix = (name: string, ...shape: number[]) => specs.push({ name, shape, matrix: true });
  const linear = (name: string, outputs: number, inputs: number, bias = true) => {
    matrix(`${name}.weight`, outputs, inputs);
    if (bias) vector(`${name}.bias`, outputs);
  };

  matrix("embed_tokens.weight", config.vocabSize, width);
  config.blockTypes.forEach((type, i) => {
    const layer = `layers.${i}`;
    const block = `${layer}.temporal_block`;
    vector(`${layer}.temporal_pre_norm.weight`, width);
    if (type === "recurrent") {
      linear(`${block}.linear_x`, lruWidth, width);
      vector(`${block}.conv_1d.weight`, convTaps, lruWidth);
      vector(`${block}.conv_1d.bias`, lruWidth);
      for (const gate of ["input_gate", "recurrent_gate"]) {
        vector(`${block}.rg_lru.${gate}_weight`, numHeads, gateSize, gateSize);
        vector(`${block}.rg_lru.${gate}_bias`, numHeads, gateSize);
      }
      vector(`${block}.rg_lru.recurrent_param`, lruWidth);
      linear(`${block}.linear_y`, lruWidth, width);
      linear(`${block}.linear_out`, width, lruWidth);
    } else {
      linear(`${block}.q_proj`, numHeads * headDim, width, config.attentionBias);
      linear(`${block}.k_proj`, kvWidth, width, config.attentionBias);
      linear(`${block}.v_proj`, kvWidth, width, config.attentionBias);
      linear(`${block}.o_proj`, width, numHeads * headDim);
    }
    vector(`${layer}.channel_pre_norm.weight`, width);
    linear(`${layer}.mlp_block.gate_proj`, mlpWidth, width);
    linear(`${layer}.mlp_block.up_proj`, mlpWidth, width);
    linear(`${layer}.mlp_block.down_proj`, width, mlpWidth);
  });
  vector("final_norm.weight", width);
  if (!config.tied) matrix("lm_head.weight", config.vocabSize, width);
  return specs;
}

/** The number of values in all of a model's weights. */
export function parameterCount(config: Config): number {
  return weightSpecs(config).reduce((sum, { shape }) => sum + shape.reduce((product, dim) => product * dim, 1), 0);
}
