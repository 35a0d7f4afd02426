// Config: the sizes and options of one model, generic over every Griffin checkpoint we can run, read from and written
// as Hugging Face's config.json of `recurrent_gemma`. Absent keys mean what transformers' RecurrentGemmaConfig gives
// them, except the sizes, which must be there. What would change the computation in a way we do not know is refused.
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { bf16Round } from "./bf16.ts";
import { checkShape } from "./parse-json.ts";

export type BlockType = "recurrent" | "attention";
export type Activation = "gelu_tanh" | "silu";

/** Sizes and options of one model. Axis letters (D, R, E, …) as in functions.ts. */
export interface Config {
  /** V */ vocabSize: number;
  /** D */ width: number;
  /** R */ lruWidth: number;
  /** E, the width of the gate and of the up projection: half of Hugging Face's `intermediate_size`. */
  mlpWidth: number;
  /** One entry a block; its length is the number of blocks. */
  blockTypes: readonly BlockType[];
  /** N: query heads, and also the number of diagonal blocks of the RG-LRU gates. */
  numHeads: number;
  numKvHeads: number;
  /** H */ headDim: number;
  /** W: past keys a query sees besides its own. */
  window: number;
  /** Leading dims of every head that RoPE turns; even. */
  rotaryDim: number;
  ropeTheta: number;
  rmsNormEpsilon: number;
  /** null: logits are not capped. */
  logitsSoftCap: number | null;
  activation: Activation;
  /** √D rounded to bfloat16, or 1 where embeddings are not scaled. */
  embedScale: number;
  /** true: the head is the embedding table. */
  tied: boolean;
  /** true: q, k and v projections have biases too. */
  attentionBias: boolean;
  bosTokenId: number;
  eosTokenIds: readonly number[];
  padTokenId: number | null;
}

const modelType = "recurrent_gemma";
const convWidth = 4;
/** Far above any real model, and low enough that a hostile file cannot ask for an endless graph. */
const sizeLimit = 2 ** 24;
const blocksLimit = 1024;

const activations: Readonly<Record<string, Activation>> = {
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_new: "gelu_tanh",
  gelu_tanh: "gelu_tanh",
  silu: "silu",
  swish: "silu",
};

/** Keys that change what is computed, in ways no function of ours computes; they may only be null, 0 or false. */
const refusedKeys = [
  "quantization_config",
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "query_pre_attn_scalar",
];

const size = (limit = sizeLimit) =>
  z.int(`expected an integer from 1 to ${limit}`).min(1, `expected at least 1`).max(limit, `expected at most ${limit}`);
/** Numbers of a config become f32 in the graph, where 1e-60 would be 0 and 1e60 infinite. */
const fitsF32 = (value: number) => value === 0 || (Math.fround(value) !== 0 && Number.isFinite(Math.fround(value)));
const range = "expected a number that 32-bit floats hold: about 1e-45 to 3e38";
const positive = z.number("expected a positive number").positive("expected a positive number").refine(fitsF32, range);
const tokenId = z.int("expected a token id").min(0, "expected a token id");
const pattern = z.array(z.string("expected the name of a block type")).min(1, "expected at least one block type");
const rope = z.looseObject({
  rope_theta: positive.nullish(),
  partial_rotary_factor: positive.nullish(),
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
});
type Rope = z.infer<typeof rope>;

const configJson = z.looseObject({
  model_type: z.string(),
  vocab_size: size(),
  hidden_size: size(),
  intermediate_size: size(),
  num_hidden_layers: size(blocksLimit),
  num_attention_heads: size(),
  num_key_value_heads: size().nullish(),
  head_dim: size().nullish(),
  lru_width: size().nullish(),
  attention_window_size: size().default(2048),
  conv1d_width: z.int().default(convWidth),
  logits_soft_cap: z.number().min(0, "expected 0 or a positive number").refine(fitsF32, range).nullable().default(30),
  rms_norm_eps: positive.default(1e-6),
  rope_theta: positive.nullish(),
  partial_rotary_factor: positive.nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  rope_scaling: rope.nullish(),
  hidden_activation: z.string().nullish(),
  hidden_act: z.string().nullish(),
  embeddings_scale_by_sqrt_dim: z.boolean().default(true),
  block_types: pattern.nullish(),
  _block_types: pattern.nullish(),
  attention_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
  bos_token_id: tokenId.default(2),
  eos_token_id: z
    .union([tokenId, z.array(tokenId)], "expected a token id or a list of them")
    .nullable()
    .default(1),
  pad_token_id: tokenId.nullable().default(0),
});
type ConfigJson = z.infer<typeof configJson>;

const file = "config.json";

const unsupported = (key: string, got: unknown, supported: string): GriffinError =>
  new GriffinError("unsupported", `${file}: "${key}" is ${JSON.stringify(got)}; supported: ${supported}.`);

const invalid = (key: string, expected: string, got: unknown): GriffinError =>
  new GriffinError("invalid_config", `${file}: "${key}": expected ${expected}, got ${JSON.stringify(got)}.`);

/** The Config of a parsed Hugging Face config.json. Fails with `invalid_config` or `unsupported`, naming the key. */
export function parseConfig(value: unknown): Config {
  refuse(value);
  const json = checkShape(configJson, value, file, "invalid_config");
  if (json.conv1d_width !== convWidth) throw unsupported("conv1d_width", json.conv1d_width, String(convWidth));
  if (json.intermediate_size % 2 !== 0) {
    throw invalid("intermediate_size", "an even number, twice the MLP's width", json.intermediate_size);
  }
  const numHeads = json.num_attention_heads;
  const numKvHeads = json.num_key_value_heads ?? numHeads;
  if (numHeads % numKvHeads !== 0) {
    throw unsupported("num_key_value_heads", numKvHeads, `divisors of num_attention_heads ${numHeads}`);
  }
  const lruWidth = json.lru_width ?? json.hidden_size;
  if (lruWidth % numHeads !== 0) {
    throw unsupported("lru_width", lruWidth, `multiples of num_attention_heads ${numHeads}`);
  }
  const headDim = json.head_dim ?? json.hidden_size / numHeads;
  if (!Number.isInteger(headDim)) {
    throw invalid("head_dim", `a value, since hidden_size ${json.hidden_size} / ${numHeads} heads is not whole`, null);
  }
  return {
    vocabSize: json.vocab_size,
    width: json.hidden_size,
    lruWidth,
    mlpWidth: json.intermediate_size / 2,
    blockTypes: blockTypes(json),
    numHeads,
    numKvHeads,
    headDim,
    window: json.attention_window_size,
    ...rotary(json, headDim),
    rmsNormEpsilon: json.rms_norm_eps,
    logitsSoftCap: json.logits_soft_cap || null,
    activation: activation(json),
    embedScale: json.embeddings_scale_by_sqrt_dim ? bf16Round(Math.sqrt(json.hidden_size)) : 1,
    tied: json.tie_word_embeddings,
    attentionBias: json.attention_bias,
    ...tokenIds(json),
  };
}

/** The canonical config.json of a Config: `parseConfig` of it gives the same Config again. */
export function configToJson(config: Config) {
  return {
    model_type: modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.width,
    intermediate_size: 2 * config.mlpWidth,
    num_hidden_layers: config.blockTypes.length,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    lru_width: config.lruWidth,
    attention_window_size: config.window,
    conv1d_width: convWidth,
    logits_soft_cap: config.logitsSoftCap,
    rms_norm_eps: config.rmsNormEpsilon,
    rope_theta: config.ropeTheta,
    partial_rotary_factor: config.rotaryDim / config.headDim,
    hidden_activation: config.activation === "silu" ? "silu" : "gelu_pytorch_tanh",
    embeddings_scale_by_sqrt_dim: config.embedScale !== 1,
    block_types: [...config.blockTypes],
    attention_bias: config.attentionBias,
    tie_word_embeddings: config.tied,
    bos_token_id: config.bosTokenId,
    eos_token_id: [...config.eosTokenIds],
    pad_token_id: config.padTokenId,
  };
}

/** Refuses other models before their keys can look malformed. */
function refuse(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  const type: unknown = Reflect.get(value, "model_type");
  if (typeof type === "string" && type !== modelType) throw unsupported("model_type", type, modelType);
  for (const key of refusedKeys) {
    const got: unknown = Reflect.get(value, key);
    if (got) throw unsupported(key, got, "none");
  }
}

/** The pattern, cycled and then cut off at the number of blocks. */
function blockTypes(json: ConfigJson): BlockType[] {
  const cycle = (types: readonly string[]) =>
    Array.from({ length: json.num_hidden_layers }, (_, i): BlockType => {
      const type = types[i % types.length];
      if (type !== "recurrent" && type !== "attention") throw unsupported("block_types", type, "recurrent, attention");
      return type;
    });
  const types = cycle(json.block_types ?? json["_block_types"] ?? ["recurrent", "recurrent", "attention"]);
  if (json["_block_types"] && cycle(json["_block_types"]).some((type, i) => type !== types[i])) {
    throw invalid("_block_types", "the same blocks as in block_types", json["_block_types"]);
  }
  return types;
}

/** `hidden_act` counts only where `hidden_activation` is silent, as in transformers' Gemma. */
function activation(json: ConfigJson): Activation {
  const key = json.hidden_activation == null && json.hidden_act != null ? "hidden_act" : "hidden_activation";
  const name = json[key] ?? "gelu_pytorch_tanh";
  const known = Object.hasOwn(activations, name) ? activations[name] : undefined;
  if (known === undefined) throw unsupported(key, name, Object.keys(activations).join(", "));
  return known;
}

/** RoPE's sizes, from the top level (transformers 4) or from `rope_parameters`, flat or one entry a layer type (5). */
function rotary(json: ConfigJson, headDim: number): Pick<Config, "rotaryDim" | "ropeTheta"> {
  const places: [string, Rope][] = [
    ["", { rope_theta: json.rope_theta, partial_rotary_factor: json.partial_rotary_factor }],
  ];
  if (json.rope_scaling) places.push(["rope_scaling.", json.rope_scaling]);
  if (json.rope_parameters) {
    const nested = Object.entries(json.rope_parameters).filter(
      ([, inner]) => typeof inner === "object" && inner !== null,
    );
    const flat = nested.length === 0;
    for (const [key, inner] of flat ? [["", json.rope_parameters] as const] : nested) {
      const name = flat ? "rope_parameters" : `rope_parameters.${key}`;
      places.push([`${name}.`, checkShape(rope, inner, `${file}: ${name}`, "invalid_config")]);
    }
  }
  for (const [name, place] of places) {
    for (const key of ["rope_type", "type"] as const) {
      const type = place[key];
      if (type != null && type !== "default") throw unsupported(name + key, type, "default");
    }
    if (place.factor != null && place.factor !== 1) throw unsupported(`${name}factor`, place.factor, "1");
  }
  const one = (key: "rope_theta" | "partial_rotary_factor", otherwise: number): number => {
    const said = places.flatMap(([name, place]) => (place[key] == null ? [] : [[name, place[key]] as const]));
    const other = said.find(([, value]) => value !== said[0]?.[1]);
    if (other) throw invalid(other[0] + key, `the same as ${said[0]?.[0]}${key}, ${said[0]?.[1]}`, other[1]);
    return said[0]?.[1] ?? otherwise;
  };
  const factor = one("partial_rotary_factor", 0.5);
  // transformers truncates; the small term makes up for quotients such as 1/49, whose product with 49 is below 1.
  const rotaryDim = Math.trunc(factor * headDim + 1e-6);
  if (rotaryDim < 2 || rotaryDim > headDim || rotaryDim % 2 !== 0) {
    throw unsupported(
      "partial_rotary_factor",
      factor,
      `those that turn an even number of the ${headDim} dims of a head`,
    );
  }
  return { rotaryDim, ropeTheta: one("rope_theta", 10_000) };
}

function tokenIds(json: ConfigJson): Pick<Config, "bosTokenId" | "eosTokenIds" | "padTokenId"> {
  const eosTokenIds = [json.eos_token_id ?? []].flat();
  const ids = { bos_token_id: json.bos_token_id, pad_token_id: json.pad_token_id ?? 0 };
  const all: [string, number][] = [
    ...Object.entries(ids),
    ...eosTokenIds.map((id): [string, number] => ["eos_token_id", id]),
  ];
  for (const [key, id] of all) {
    if (id >= json.vocab_size) throw invalid(key, `a token id below vocab_size ${json.vocab_size}`, id);
  }
  return { bosTokenId: json.bos_token_id, eosTokenIds, padTokenId: json.pad_token_id };
}
