import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseConfig, type Config } from "../../src/model/config.ts";
import { forward, referenceModel } from "./forward.ts";
import { readCheckpoint } from "./golden.ts";
import { randomModel, randomModelNames, writeHuggingFaceFolder } from "./random-model.ts";

const folder = mkdtempSync(join(tmpdir(), "griffin-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(randomModelNames)("random model %s", (name) => {
  const { config, tensors, tokens } = randomModel(name);

  it("is written as a folder that holds exactly its config and weights", () => {
    writeHuggingFaceFolder(join(folder, name), { config, tensors });
    expect(parseConfig(JSON.parse(readFileSync(join(folder, name, "config.json"), "utf8")))).toEqual(config);
    expect(readCheckpoint(join(folder, name, "model.safetensors"))).toEqual(tensors);
  });

  it("gives finite logits that differ from token to token", () => {
    const { logits } = forward(referenceModel(config, tensors), tokens);
    expect(logits).toHaveLength(tokens.length * config.vocabSize);
    expect(logits.every(Number.isFinite)).toBe(true);
    const [low, high] = [Math.min(...logits), Math.max(...logits)];
    expect(high - low).toBeGreaterThan(2);
  });
});

const silu = randomModel("silu_uncapped_unscaled");
const untied = randomModel("four_kv_heads_untied");
const biased = randomModel("attention_bias");
it.each([
  ["the activation", silu, { activation: "gelu_tanh" }],
  ["the soft cap", silu, { logitsSoftCap: 30 }],
  ["the embedding scale", silu, { embedScale: 6 }],
  ["the untied head", untied, { tied: true }],
  ["the attention bias", biased, { attentionBias: false }],
  ["the rotary size", biased, { rotaryDim: 4 }],
  ["RoPE's theta", biased, { ropeTheta: 500 }],
  ["the window", biased, { window: 15 }],
] satisfies [string, typeof silu, Partial<Config>][])("the float64 forward pass heeds %s", (_, model, change) => {
  const logits = (config: Config) => forward(referenceModel(config, model.tensors), model.tokens).logits;
  const [one, other] = [logits(model.config), logits({ ...model.config, ...change })];
  expect(Math.max(...one.map((x, i) => Math.abs(x - other[i]!)))).toBeGreaterThan(1e-3);
});

it("query heads n · N / kv heads and on share KV head n", () => {
  const { config, tensors, tokens } = randomModel("two_kv_heads");
  const { headDim: H, numHeads: N, width: D } = config;
  const spread = new Map(tensors);
  for (const [name, values] of tensors) {
    if (!/\.[kv]_proj\.weight$/.test(name)) continue;
    const head = (n: number) => Array.from(values.subarray(n * H * D, (n + 1) * H * D));
    spread.set(name, new Float32Array([head(0), head(0), head(1), head(1)].flat()));
  }
  const shared = forward(referenceModel(config, tensors), tokens).logits;
  expect(forward(referenceModel({ ...config, numKvHeads: N }, spread), tokens).logits).toEqual(shared);
});

it("rounding the window to bfloat16 moves the logits a little", () => {
  const { config, tensors, tokens } = randomModel("two_kv_heads");
  const [exact, rounded] = (["f32", "bf16"] as const).map(
    (kv) => forward(referenceModel(config, tensors, kv), tokens).logits,
  );
  const difference = Math.max(...exact!.map((x, i) => Math.abs(x - rounded![i]!)));
  expect(difference).toBeGreaterThan(1e-4);
  expect(difference).toBeLessThan(0.5);
});
