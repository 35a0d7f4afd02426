// Config: every spelling of a recurrent_gemma config.json, and everything that is refused.
import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Config, configToJson, parseConfig } from "../../src/model/config.ts";

const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, "utf8"));
const pocket = json("models/pocket/config.json");
const without = (...keys: string[]) =>
  Object.fromEntries(Object.entries(pocket).filter(([key]) => !keys.includes(key)));

/** The published RecurrentGemma-2B file, with the spellings of its time. */
const recurrentGemma2b = {
  model_type: "recurrent_gemma",
  _block_types: ["recurrent", "recurrent", "attention"],
  attention_bias: false,
  attention_dropout: 0.0,
  attention_window_size: 2048,
  bos_token_id: 2,
  conv1d_width: 4,
  embeddings_scale_by_sqrt_dim: true,
  eos_token_id: 1,
  final_w_init_variance_scale: 0.07692307692307693,
  head_dim: 256,
  hidden_activation: "gelu_pytorch_tanh",
  hidden_size: 2560,
  intermediate_size: 15360,
  logits_soft_cap: 30.0,
  lru_width: 2560,
  num_attention_heads: 10,
  num_hidden_layers: 26,
  num_key_value_heads: 1,
  pad_token_id: 0,
  partial_rotary_factor: 0.5,
  rms_norm_eps: 1e-6,
  rope_theta: 10000.0,
  torch_dtype: "bfloat16",
  vocab_size: 256000,
  w_init_variance_scale: 0.01,
};

describe("parseConfig", () => {
  it("reads the sizes of RecurrentGemma-2B", () => {
    const { blockTypes, ...sizes } = parseConfig(recurrentGemma2b);
    expect(sizes).toEqual({
      vocabSize: 256_000,
      width: 2560,
      lruWidth: 2560,
      mlpWidth: 7680,
      numHeads: 10,
      numKvHeads: 1,
      headDim: 256,
      window: 2048,
      rotaryDim: 128,
      ropeTheta: 10_000,
      rmsNormEpsilon: 1e-6,
      logitsSoftCap: 30,
      activation: "gelu_tanh",
      embedScale: 50.5,
      tied: true,
      attentionBias: false,
      bosTokenId: 2,
      eosTokenIds: [1],
      padTokenId: 0,
    });
    expect(blockTypes).toHaveLength(26);
    expect(blockTypes.filter((type) => type === "attention")).toHaveLength(8);
    expect(blockTypes.slice(-3)).toEqual(["attention", "recurrent", "recurrent"]);
  });

  it("rounds the embedding scale to bfloat16", () => {
    const scale = (hidden_size: number) => parseConfig({ ...pocket, hidden_size }).embedScale;
    expect([2560, 4096, 256, 192, 1].map(scale)).toEqual([50.5, 64, 16, 13.875, 1]);
    expect(parseConfig({ ...pocket, embeddings_scale_by_sqrt_dim: false }).embedScale).toBe(1);
  });

  const same: Record<string, object> = {
    "_block_types alone": { ...without("block_types") },
    "block_types alone": { ...without("_block_types") },
    "the whole list of blocks beside the pattern": {
      ...pocket,
      block_types: ["recurrent", "recurrent", "attention", "recurrent", "recurrent", "attention"],
    },
    "rope in rope_parameters": {
      ...without("rope_theta", "partial_rotary_factor"),
      rope_parameters: { rope_type: "default", rope_theta: 10000.0, partial_rotary_factor: 0.5 },
    },
    "rope nested by layer type": {
      ...without("rope_theta", "partial_rotary_factor"),
      rope_parameters: { attention: { rope_type: "default", rope_theta: 10000.0, partial_rotary_factor: 0.5 } },
    },
    "rope in both places": { ...pocket, rope_parameters: { rope_type: "default", rope_theta: 10000 } },
    "rope_scaling null": { ...pocket, rope_scaling: null },
    "dtype instead of torch_dtype": { ...without("torch_dtype"), dtype: "float32" },
    "head_dim by default": { ...without("head_dim") },
    "lru_width null": { ...pocket, lru_width: null },
    "hidden_act instead of hidden_activation": { ...without("hidden_activation"), hidden_act: "gelu_new" },
    "hidden_activation over hidden_act": { ...pocket, hidden_act: "silu" },
    "a list of one eos": { ...pocket, eos_token_id: [1] },
    "every default left out": without(
      "conv1d_width",
      "logits_soft_cap",
      "rms_norm_eps",
      "rope_theta",
      "partial_rotary_factor",
      "hidden_activation",
      "block_types",
      "_block_types",
      "attention_bias",
      "bos_token_id",
      "eos_token_id",
      "pad_token_id",
      "tie_word_embeddings",
    ),
  };
  it.each(Object.entries(same))("gives the same Config for %s", (_, spelling) => {
    expect(parseConfig(spelling)).toEqual(parseConfig(pocket));
  });

  it.each([
    [{ num_key_value_heads: null }, { numKvHeads: 3 }],
    [{ logits_soft_cap: 0 }, { logitsSoftCap: null }],
    [{ logits_soft_cap: null }, { logitsSoftCap: null }],
    [
      { logits_soft_cap: 1e-30, rms_norm_eps: 1e-40 },
      { logitsSoftCap: 1e-30, rmsNormEpsilon: 1e-40 },
    ],
    [{ hidden_activation: "silu" }, { activation: "silu" }],
    [{ hidden_activation: null, hidden_act: "swish" }, { activation: "silu" }],
    [{ eos_token_id: [1, 5] }, { eosTokenIds: [1, 5] }],
    [{ eos_token_id: null }, { eosTokenIds: [] }],
    [{ pad_token_id: null }, { padTokenId: null }],
    [{ tie_word_embeddings: false }, { tied: false }],
    [{ attention_bias: true }, { attentionBias: true }],
    [{ partial_rotary_factor: 1 }, { rotaryDim: 64 }],
    [{ num_hidden_layers: 2 }, { blockTypes: ["recurrent", "recurrent"] }],
  ])("reads %j as %j", (patch, expected) => {
    expect(parseConfig({ ...pocket, ...patch })).toMatchObject(expected);
  });

  it.each([
    [{ model_type: "gemma2" }, "model_type", "gemma2"],
    [{ conv1d_width: 3 }, "conv1d_width", "3"],
    [{ hidden_activation: "gelu" }, "hidden_activation", "gelu"],
    [{ hidden_activation: "toString" }, "hidden_activation", "toString"],
    [{ hidden_activation: null, hidden_act: "relu" }, "hidden_act", "relu"],
    [{ block_types: ["recurrent", "mamba"], _block_types: null }, "block_types", "mamba"],
    [{ rope_scaling: { type: "linear", factor: 2 } }, "rope_scaling.type", "linear"],
    [{ rope_parameters: { rope_type: "yarn" } }, "rope_parameters.rope_type", "yarn"],
    [{ rope_parameters: { attention: { rope_type: "llama3" } } }, "rope_parameters.attention.rope_type", "llama3"],
    [{ rope_parameters: { rope_type: "default", factor: 4 } }, "rope_parameters.factor", "4"],
    [{ quantization_config: { quant_method: "gptq" } }, "quantization_config", "gptq"],
    [{ attn_logit_softcapping: 50 }, "attn_logit_softcapping", "50"],
    [{ final_logit_softcapping: 30 }, "final_logit_softcapping", "30"],
    [{ lru_width: 200 }, "lru_width", "200"],
    [{ num_key_value_heads: 2 }, "num_key_value_heads", "2"],
    [{ partial_rotary_factor: 0.33 }, "partial_rotary_factor", "0.33"],
    [{ partial_rotary_factor: 1.5 }, "partial_rotary_factor", "1.5"],
  ])("does not support %j", (patch, key, got) => {
    const parse = () => parseConfig({ ...pocket, ...patch });
    expect(parse).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(parse).toThrow(`"${key}"`);
    expect(parse).toThrow(got);
  });

  it.each([
    [{ hidden_size: "192" }, '"hidden_size"', '"192"'],
    [{ hidden_size: 192.5, head_dim: 64 }, '"hidden_size"', "192.5"],
    [{ vocab_size: 0 }, '"vocab_size"', "got 0"],
    [{ vocab_size: undefined }, '"vocab_size"', "got nothing"],
    [{ num_hidden_layers: 1e9 }, '"num_hidden_layers"', "1024"],
    [{ intermediate_size: 1151 }, '"intermediate_size"', "1151"],
    [{ hidden_size: 200, head_dim: null }, '"head_dim"', "200 / 3"],
    [{ rms_norm_eps: 0 }, '"rms_norm_eps"', "got 0"],
    [{ rope_theta: -1 }, '"rope_theta"', "-1"],
    [{ rope_parameters: { rope_theta: "x" } }, '"rope_theta"', '"x"'],
    [{ rope_parameters: { rope_theta: 20000 } }, '"rope_parameters.rope_theta"', "20000"],
    [{ logits_soft_cap: -30 }, '"logits_soft_cap"', "-30"],
    [{ logits_soft_cap: 1e-60 }, '"logits_soft_cap"', "1e-60"],
    [{ logits_soft_cap: 1e60 }, '"logits_soft_cap"', "1e+60"],
    [{ rms_norm_eps: 1e-60 }, '"rms_norm_eps"', "1e-60"],
    [{ rope_theta: 1e60 }, '"rope_theta"', "1e+60"],
    [{ rope_parameters: { rope_theta: 1e60 } }, '"rope_theta"', "1e+60"],
    [{ block_types: [] }, '"block_types"', "[]"],
    [{ block_types: ["attention", "recurrent"] }, '"_block_types"', "same blocks"],
    [{ tie_word_embeddings: "yes" }, '"tie_word_embeddings"', '"yes"'],
    [{ bos_token_id: 2048 }, '"bos_token_id"', "2048"],
    [{ eos_token_id: [1, 9999] }, '"eos_token_id"', "9999"],
    [{ pad_token_id: -1 }, '"pad_token_id"', "-1"],
  ])("calls %j malformed", (patch, key, got) => {
    const parse = () => parseConfig({ ...pocket, ...patch });
    expect(parse).toThrow(expect.objectContaining({ code: "invalid_config" }));
    expect(parse).toThrow(key);
    expect(parse).toThrow(got);
  });

  it.each([null, undefined, 3, "config", []])("calls %j malformed, not a crash", (value) => {
    expect(() => parseConfig(value)).toThrow(expect.objectContaining({ code: "invalid_config" }));
  });
});

const size = (max: number) => fc.integer({ min: 1, max });
const configs: fc.Arbitrary<Config> = fc
  .record({ kv: size(4), group: size(4), gate: size(64), rotary: size(32), unturned: fc.nat(64), width: size(5000) })
  .chain(({ kv, group, gate, rotary, unturned, width }) =>
    fc.record<Config>({
      vocabSize: fc.integer({ min: 100, max: 300_000 }),
      width: fc.constant(width),
      lruWidth: fc.constant(kv * group * gate),
      mlpWidth: size(20_000),
      blockTypes: fc.array(fc.constantFrom("recurrent", "attention"), { minLength: 1, maxLength: 40 }),
      numHeads: fc.constant(kv * group),
      numKvHeads: fc.constant(kv),
      headDim: fc.constant(2 * rotary + unturned),
      window: size(4096),
      rotaryDim: fc.constant(2 * rotary),
      ropeTheta: fc.double({ min: 1, max: 1e6, noNaN: true }),
      rmsNormEpsilon: fc.constantFrom(1e-6, 1e-5),
      logitsSoftCap: fc.constantFrom(null, 30, 12.5),
      activation: fc.constantFrom("gelu_tanh", "silu"),
      embedScale: fc.constantFrom(1, parseConfig({ ...pocket, hidden_size: width, head_dim: 64 }).embedScale),
      tied: fc.boolean(),
      attentionBias: fc.boolean(),
      bosTokenId: fc.nat(99),
      eosTokenIds: fc.array(fc.nat(99), { maxLength: 3 }),
      padTokenId: fc.option(fc.nat(99)),
    }),
  );

describe("configToJson", () => {
  it("is read back as the same Config, through JSON text too", () => {
    fc.assert(
      fc.property(configs, (config) => {
        expect(parseConfig(JSON.parse(JSON.stringify(configToJson(config))))).toEqual(config);
      }),
      { seed: 20240407, numRuns: 500 },
    );
  });
});
