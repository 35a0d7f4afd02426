import { describe, expect, it } from "vitest";
import { buildGraph } from "../../src/model/build-graph.ts";
import type { BlockType, Config } from "../../src/model/config.ts";
import { readGraph, type StoredTensor } from "../../src/model/graph.ts";
import { decodeModel, encodeModel, type GraphProto, type ModelProto, type NodeProto } from "../../src/model/onnx.ts";
import { stateLayout } from "../../src/model/state.ts";
import { storedSpecs, tensorBytes, weightSpecs, type Format } from "../../src/model/weights.ts";
import { randomModels } from "../reference/random-model.ts";

const base = randomModels.two_kv_heads.config; // R A R A

/** RecurrentGemma at its two published sizes. */
function recurrentGemma(size: "2b" | "9b"): Config {
  const [width, blocks, heads, mlpWidth] = size === "2b" ? [2560, 26, 10, 7680] : [4096, 38, 16, 12288];
  const pattern: BlockType[] = ["recurrent", "recurrent", "attention"];
  return {
    ...base,
    vocabSize: 256_000,
    width,
    lruWidth: width,
    mlpWidth,
    blockTypes: Array.from({ length: blocks }, (_, i) => pattern[i % 3]!),
    numHeads: heads,
    numKvHeads: 1,
    headDim: 256,
    window: 2048,
    rotaryDim: 128,
  };
}

/** A place for every weight, one after another from byte 4096; matrices in `format`. */
function placed(config: Config, format: Format): (name: string) => StoredTensor {
  let offsetBytes = 4096;
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape } of weightSpecs(config).flatMap((spec) => storedSpecs(spec, format))) {
    const lengthBytes = tensorBytes(dtype, shape);
    tensors.set(name, { dtype, shape, offsetBytes, lengthBytes });
    offsetBytes += lengthBytes;
  }
  return (name) => tensors.get(name)!;
}

const build = (config: Config, format: Format = "f32") =>
  buildGraph(config, { kv: format === "f32" ? "f32" : "bf16", format, weights: placed(config, format) });
const inputsOf = (node: string, config: Config) =>
  readGraph(build(config)).nodes.find(({ name }) => name === node)?.inputs;
const operators = (config: Config) => new Set(readGraph(build(config)).nodes.map(({ operator }) => operator));

describe("the weights of a Config", () => {
  it.each([
    ["2b", 484, 2_682_862_080],
    ["9b", 704, 8_579_977_216],
  ] as const)("are those of RecurrentGemma %s: %i tensors, %i parameters", (size, tensors, parameters) => {
    const specs = weightSpecs(recurrentGemma(size));
    expect(new Set(specs.map(({ name }) => name)).size).toBe(tensors);
    expect(specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(parameters);
  });

  it("come in the order in which the graph uses them", () => {
    for (const { config } of Object.values(randomModels)) {
      const names = weightSpecs(config).map(({ name }) => name);
      const used = readGraph(build(config)).nodes.flatMap(({ inputs }) =>
        inputs.filter((input) => names.includes(input)),
      );
      expect([...new Set(used)]).toEqual(names);
    }
  });
});

describe("buildGraph", () => {
  it("gives RecurrentGemma 2B in a few hundred nodes and 150 KB", () => {
    const model = build(recurrentGemma("2b"), "bf16");
    expect(encodeModel(model).length).toBeLessThan(150_000);
    const { nodes, initializers } = readGraph(model);
    expect(nodes.length).toBe(396);
    expect(initializers.size).toBe(484);
    expect(nodes.map(({ name }) => name)).toEqual(expect.arrayContaining(["layers.3.mlp.gate_proj", "head"]));
  });

  it("has tokens, pos and the states in the order of StateLayout as inputs, logits and the new states as outputs", () => {
    const { inputs, outputs } = readGraph(build(base, "bf16"));
    const states = (suffix: string) =>
      stateLayout(base, "bf16").entries.map(({ name, shape }) => ({ name: name + suffix, dtype: "f32", shape }));
    expect(inputs).toEqual([
      { name: "tokens", dtype: "i32", shape: ["T"] },
      { name: "pos", dtype: "i32", shape: ["T"] },
      ...states(""),
    ]);
    expect(outputs).toEqual([{ name: "logits", dtype: "f32", shape: ["T", base.vocabSize] }, ...states(".out")]);
  });

  it("points its initializers to where the weights lie, matrices as bf16 where they are stored so", () => {
    const { initializers } = readGraph(build(base, "bf16"));
    const weights = placed(base, "bf16");
    for (const { name } of weightSpecs(base)) expect(initializers.get(name)).toEqual(weights(name));
    expect(initializers.get("embed_tokens.weight")?.dtype).toBe("bf16");
    expect(initializers.get("layers.0.temporal_block.conv_1d.weight")).toMatchObject({ dtype: "f32", shape: [4, 44] });
  });

  it("contains only the functions that its options need", () => {
    expect(operators(base)).toContain("gelu_mul");
    expect(operators(base)).toContain("soft_cap");
    expect(operators(base)).not.toContain("silu_mul");
    expect(operators({ ...base, activation: "silu" })).toContain("silu_mul");
    expect(operators({ ...base, activation: "silu" })).not.toContain("gelu_mul");
    expect(operators({ ...base, logitsSoftCap: null })).not.toContain("soft_cap");
    expect(operators({ ...base, blockTypes: ["attention"] })).not.toContain("rg_lru");
    for (const { config } of Object.values(randomModels)) {
      const called = [...operators(config)].filter((operator) => operator !== "Add");
      const functions = build(config).functions?.map(({ name }) => name);
      expect(functions?.toSorted()).toEqual(called.toSorted());
    }
  });

  it("uses the embedding table as the head where it is tied, and lm_head.weight where not", () => {
    expect(inputsOf("head", base)).toEqual(["final_norm", "embed_tokens.weight"]);
    expect(inputsOf("head", { ...base, tied: false })).toEqual(["final_norm", "lm_head.weight"]);
  });

  it("gives attention projections biases where the Config has them", () => {
    const node = "layers.1.temporal.k_proj";
    const [x, weight, bias] = [
      "layers.1.temporal_pre_norm",
      "layers.1.temporal_block.k_proj.weight",
      "layers.1.temporal_block.k_proj.bias",
    ];
    expect(inputsOf(node, base)).toEqual([x, weight]);
    expect(inputsOf(node, { ...base, attentionBias: true })).toEqual([x, weight, bias]);
  });

  it("carries the Config's numbers as attributes", () => {
    const attributes = Object.assign({}, ...readGraph(build(base, "bf16")).nodes.map((node) => node.attributes));
    expect(attributes).toEqual({
      scale: 6,
      epsilon: Math.fround(1e-6),
      head_dim: 12,
      rotary_dim: 6,
      rope_theta: 10_000,
      kv_dtype: 16,
      cap: 30,
    });
  });

  it("refuses weights of the wrong shape, and vectors that are not f32", () => {
    const weights = placed(base, "f32");
    const changed = (target: string, change: Partial<StoredTensor>) => () =>
      buildGraph(base, {
        kv: "f32",
        format: "f32",
        weights: (name) => ({ ...weights(name), ...(name === target && change) }),
      });
    const code = "invalid_checkpoint";
    expect(changed("final_norm.weight", { shape: [35] })).toThrowError(expect.objectContaining({ code }));
    expect(changed("final_norm.weight", { dtype: "bf16" })).toThrowError(/final_norm\.weight must be \[36\] of f32/);
  });
});

const find = (graph: GraphProto, name: string): NodeProto => graph.node!.find((node) => node.name === name)!;

describe("readGraph", () => {
  it("reads from the bytes what was built", () => {
    const model = build(base);
    expect(readGraph(decodeModel(encodeModel(model)))).toEqual(readGraph(model));
  });

  it("lists calls with readable names, in execution order", () => {
    const { nodes } = readGraph(build({ ...base, blockTypes: ["attention"] }));
    expect(nodes.map(({ name, operator }) => `${name}: ${operator}`)).toEqual([
      "embed: embed",
      "layers.0.temporal_pre_norm: rms_norm",
      "layers.0.temporal.q_proj: linear",
      "layers.0.temporal.k_proj: linear",
      "layers.0.temporal.v_proj: linear",
      "layers.0.temporal.attention: local_attention",
      "layers.0.temporal.o_proj: linear",
      "layers.0.temporal.residual: Add",
      "layers.0.channel_pre_norm: rms_norm",
      "layers.0.mlp.gate_proj: linear",
      "layers.0.mlp.up_proj: linear",
      "layers.0.mlp.gated: gelu_mul",
      "layers.0.mlp.down_proj: linear",
      "layers.0.mlp.residual: Add",
      "final_norm: rms_norm",
      "head: linear",
      "soft_cap: soft_cap",
    ]);
  });

  const refusals: [
    what: string,
    code: string,
    message: RegExp,
    change: (graph: GraphProto, model: ModelProto) => void,
  ][] = [
    ["no graph", "invalid_graph", /has no graph/, (_, model) => delete model.graph],
    [
      "another version of our domain",
      "unsupported",
      /version 1 of domain "griffin", got 2/,
      (_, model) => (model.opsetImport![1]!.version = 2),
    ],
    [
      "an unknown function",
      "unsupported",
      /Node "layers\.0\.mlp\.up_proj" \(moe\) calls "moe"/,
      (graph) => (find(graph, "layers.0.mlp.up_proj").opType = "moe"),
    ],
    [
      "a function of another domain",
      "unsupported",
      /Node "embed" \(embed\): domain "com\.microsoft"/,
      (graph) => (find(graph, "embed").domain = "com.microsoft"),
    ],
    [
      "an Add of our domain",
      "unsupported",
      /Node "layers\.0\.mlp\.residual" \(Add\): domain "griffin"/,
      (graph) => (find(graph, "layers.0.mlp.residual").domain = "griffin"),
    ],
    [
      "too few inputs",
      "invalid_graph",
      /Node "final_norm" \(rms_norm\): takes the inputs x, weight, got 1/,
      (graph) => find(graph, "final_norm").input!.pop(),
    ],
    [
      "too many inputs",
      "invalid_graph",
      /Node "final_norm".*got 3/,
      (graph) => find(graph, "final_norm").input!.push("tokens"),
    ],
    [
      "an absent input in the middle",
      "invalid_graph",
      /Node "final_norm".*input "" is not/,
      (graph) => (find(graph, "final_norm").input![0] = ""),
    ],
    [
      "too many outputs",
      "invalid_graph",
      /Node "final_norm".*has the outputs y, got 2/,
      (graph) => find(graph, "final_norm").output!.push("z"),
    ],
    [
      "a value used before it is made",
      "invalid_graph",
      /Node "final_norm".*input "head" is not an input, a weight or an earlier/,
      (graph) => (find(graph, "final_norm").input![0] = "head"),
    ],
    [
      "a value made twice",
      "invalid_graph",
      /Node "final_norm".*"tokens" is empty or defined twice/,
      (graph) => (find(graph, "final_norm").output![0] = "tokens"),
    ],
    [
      "a missing attribute",
      "invalid_graph",
      /Node "final_norm".*attribute "epsilon" is missing/,
      (graph) => (find(graph, "final_norm").attribute = []),
    ],
    [
      "an unknown attribute",
      "unsupported",
      /Node "head".*attribute "alpha" is not known/,
      (graph) => (find(graph, "head").attribute = [{ name: "alpha", f: 1, type: 1 }]),
    ],
    [
      "an attribute that is not a number",
      "invalid_graph",
      /Node "final_norm".*"epsilon" must be a number/,
      (graph) => (find(graph, "final_norm").attribute = [{ name: "epsilon", s: Uint8Array.of(49), type: 3 }]),
    ],
    [
      "a symbolic size other than T",
      "unsupported",
      /Graph value "tokens": "N" is not a size or T/,
      (graph) => (graph.input![0]!.type!.tensorType!.shape!.dim = [{ dimParam: "N" }]),
    ],
    [
      "an input without a shape",
      "invalid_graph",
      /Graph value "pos": must be a tensor with a shape/,
      (graph) => delete graph.input![1]!.type!.tensorType!.shape,
    ],
    [
      "an input of doubles",
      "unsupported",
      /Graph value "pos": element type 11/,
      (graph) => (graph.input![1]!.type!.tensorType!.elemType = 11),
    ],
    [
      "an output that nothing computes",
      "invalid_graph",
      /Graph output "logits": is not computed/,
      (graph) => graph.node!.pop(),
    ],
    [
      "weights inside the file",
      "unsupported",
      /Weight "embed_tokens.weight": must lie in weights\.safetensors/,
      (graph) => delete graph.initializer![0]!.dataLocation,
    ],
    [
      "weights in another file",
      "unsupported",
      /must lie in weights\.safetensors/,
      (graph) => (graph.initializer![0]!.externalData![0]!.value = "../secret"),
    ],
    [
      "float64 weights",
      "unsupported",
      /Weight "embed_tokens.weight": element type 11/,
      (graph) => (graph.initializer![0]!.dataType = 11),
    ],
    [
      "a length that is not the shape's",
      "invalid_graph",
      /\[67, 36\] of f32 is 9648 bytes, got offset 4096 and length 9644/,
      (graph) => (graph.initializer![0]!.externalData![2]!.value = "9644"),
    ],
    [
      "no offset",
      "invalid_graph",
      /got offset undefined/,
      (graph) => graph.initializer![0]!.externalData!.splice(1, 1),
    ],
    [
      "a weight named twice",
      "invalid_graph",
      /"embed_tokens.weight" is empty or defined twice/,
      (graph) => (graph.initializer![1]!.name = "embed_tokens.weight"),
    ],
  ];
  it.each(refusals)("refuses %s and says where", (_, code, message, change) => {
    const model = decodeModel(encodeModel(build(base)));
    change(model.graph!, model);
    expect(() => readGraph(model)).toThrowError(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});
