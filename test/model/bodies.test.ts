// Every function body, run alone by ONNX Runtime, against the float64 loops of test/reference/kernels.ts.
import { env, InferenceSession, Tensor } from "onnxruntime-web";
import { describe, expect, it } from "vitest";
import { functionBody, opset } from "../../src/model/bodies.ts";
import { float, int, node } from "../../src/model/body-builder.ts";
import { functionNames, signatures, type FunctionName } from "../../src/model/functions.ts";
import { domain } from "../../src/model/graph.ts";
import { DataType, encodeModel, tensorValue } from "../../src/model/onnx.ts";
import { maxError } from "../parity/onnx-runtime.ts";
import * as reference from "../reference/kernels.ts";
import { normal } from "../reference/random-model.ts";

interface Input {
  dims: readonly number[];
  data: Float32Array | Int32Array | Uint16Array;
}
/** An ONNX attribute: integers as int, `{ float }` as float. */
type Attributes = Readonly<Record<string, number | { float: number }>>;

const elemTypeOf = (data: Input["data"]) =>
  data instanceof Int32Array ? DataType.int32 : data instanceof Uint16Array ? DataType.bfloat16 : DataType.float;

/** Runs one call of a function. Inputs come in the order of its signature; its outputs by name. */
async function run(name: FunctionName, inputs: readonly Input[], attributes: Attributes = {}) {
  const { inputs: names, outputs } = signatures[name];
  const used = inputs.map((input, i) => ({ ...input, name: names[i]! }));
  const attribute = Object.fromEntries(
    Object.entries(attributes).map(([key, value]) => [
      key,
      typeof value === "number" ? int(value) : float(value.float),
    ]),
  );
  // bfloat16 is no input type of the runtime's JavaScript: such tensors are initializers, as weights are.
  const isWeight = (input: Input) => input.data instanceof Uint16Array;
  const model = encodeModel({
    irVersion: 10,
    opsetImport: [
      { domain: "", version: opset },
      { domain, version: 1 },
    ],
    functions: [functionBody(name)],
    graph: {
      name,
      node: [
        {
          ...node(
            name,
            used.map((input) => input.name),
            outputs,
            attribute,
          ),
          domain,
        },
      ],
      initializer: used.filter(isWeight).map(({ name: weight, dims, data }) => ({
        name: weight,
        dims: [...dims],
        dataType: elemTypeOf(data),
        rawData: new Uint8Array(data.buffer),
      })),
      input: used.filter((input) => !isWeight(input)).map((i) => tensorValue(i.name, elemTypeOf(i.data), i.dims)),
      output: outputs.map((output) => ({ name: output, type: { tensorType: { elemType: DataType.float } } })),
    },
  });
  env.wasm.numThreads = 1;
  const session = await InferenceSession.create(model, { executionProviders: ["wasm"] });
  const feeds: Record<string, Tensor> = {};
  for (const { name: input, dims, data } of used) {
    if (data instanceof Int32Array) feeds[input] = new Tensor("int32", data, dims);
    if (data instanceof Float32Array) feeds[input] = new Tensor("float32", data, dims);
  }
  const results = await session.run(feeds);
  await session.release();
  return Object.fromEntries(outputs.map((output) => [output, results[output]!.data as Float32Array]));
}

/** Normal numbers; every test has its own seed. */
function source(seed: number) {
  const next = normal(seed);
  return (...dims: number[]): Input & { data: Float32Array } => ({
    dims,
    data: Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, next),
  });
}
const positions = (from: number, T: number) => ({
  dims: [T],
  data: Int32Array.from({ length: T }, (_, t) => from + t),
});
const bf16Bits = (data: Float32Array) =>
  Uint16Array.from(new Uint32Array(data.map(reference.round_bf16).buffer), (word) => word >>> 16);

describe("function bodies", () => {
  it("exist for every function, with the inputs, outputs and attributes of its signature", () => {
    for (const name of functionNames) {
      const { inputs, outputs, attributes } = signatures[name];
      expect(functionBody(name)).toMatchObject({ name, domain, input: inputs, output: outputs, attribute: attributes });
    }
  });

  it("embed scales the rows it gathers, from an f32 or a bf16 table", async () => {
    const table = source(1)(9, 5);
    table.data.set(table.data.map(reference.round_bf16));
    const tokens = { dims: [4], data: Int32Array.of(8, 0, 3, 3) };
    const expected = reference.embed(tokens.data, table.data, { D: 5, scale: 50.5 });
    for (const data of [table.data, bf16Bits(table.data)]) {
      const { y } = await run("embed", [tokens, { dims: table.dims, data }], { scale: { float: 50.5 } });
      expect(maxError(y!, expected)).toBeLessThan(1e-5);
    }
  });

  it("rms_norm adds epsilon under the root and 1 to the weight", async () => {
    const next = source(2);
    const x = next(3, 7);
    x.data.subarray(0, 7).fill(1e-4); // small enough for epsilon to count
    const weight = next(7);
    const { y } = await run("rms_norm", [x, weight], { epsilon: { float: 1e-6 } });
    expect(maxError(y!, reference.rms_norm(x.data, weight.data, { T: 3, D: 7, epsilon: 1e-6 }))).toBeLessThan(1e-5);
  });

  it("linear takes f32 and bf16 weights, with a bias and without", async () => {
    const next = source(3);
    const [x, weight, bias] = [next(3, 5), next(4, 5), next(4)];
    weight.data.set(weight.data.map(reference.round_bf16));
    for (const data of [weight.data, bf16Bits(weight.data)]) {
      for (const rest of [[], [bias]]) {
        const { y } = await run("linear", [x, { dims: weight.dims, data }, ...rest]);
        const expected = reference.linear(x.data, weight.data, rest[0]?.data, { T: 3, K: 5, M: 4 });
        expect(maxError(y!, expected)).toBeLessThan(1e-5);
      }
    }
  });

  it("gelu_mul is the tanh approximation, silu_mul is x · σ(x)", async () => {
    const [gate, x] = [source(4)(2, 40), source(5)(2, 40)];
    gate.data.set(gate.data.map((value) => 2 * value));
    const gelu = await run("gelu_mul", [gate, x]);
    expect(maxError(gelu.y!, reference.gelu_mul(gate.data, x.data))).toBeLessThan(2e-6);
    const silu = await run("silu_mul", [gate, x]);
    expect(maxError(silu.y!, reference.silu_mul(gate.data, x.data))).toBeLessThan(2e-6);
  });

  it.each([1, 2, 3, 5])("causal_conv1d reads the state before %i tokens and keeps the last three inputs", async (T) => {
    const next = source(6);
    const [x, weight, bias, state] = [next(T, 6), next(4, 6), next(6), next(3, 6)];
    const { y, new_state } = await run("causal_conv1d", [x, weight, bias, state]);
    const expected = reference.causal_conv1d(x.data, weight.data, bias.data, state.data, { T, R: 6 });
    expect(maxError(y!, expected.y)).toBeLessThan(2e-6);
    expect(new_state).toEqual(Float32Array.from(expected.new_state));
  });

  it("block_diagonal multiplies every block by its own weight, stored [in, out]", async () => {
    const next = source(7);
    const [x, weight, bias] = [next(5, 12), next(3, 4, 4), next(3, 4)];
    const { y } = await run("block_diagonal", [x, weight, bias]);
    const expected = reference.block_diagonal(x.data, weight.data, bias.data, { T: 5, B: 3, S: 4 });
    expect(maxError(y!, expected)).toBeLessThan(2e-6);
  });

  it("soft_cap bends towards the cap", async () => {
    const x = source(8)(3, 11);
    x.data.set(x.data.map((value) => 30 * value));
    const { y } = await run("soft_cap", [x], { cap: { float: 30 } });
    expect(maxError(y!, reference.soft_cap(x.data, { cap: 30 }))).toBeLessThan(1e-5);
  });
});

describe("the rg_lru body", () => {
  it.each([0, 1, 77])("starts anew at position 0 and goes on elsewhere: from position %i", async (from) => {
    const next = source(9);
    const [x, inputGate, recurrentGate, aParam, state] = [next(6, 5), next(6, 5), next(6, 5), next(5), next(5)];
    const pos = positions(from, 6);
    const result = await run("rg_lru", [x, inputGate, recurrentGate, aParam, pos, state]);
    const expected = reference.rg_lru(x.data, inputGate.data, recurrentGate.data, aParam.data, pos.data, state.data, {
      T: 6,
      R: 5,
    });
    expect(maxError(result.y!, expected.y)).toBeLessThan(1e-6);
    expect(maxError(result.new_state!, expected.new_state)).toBeLessThan(1e-6);
  });

  it("rounds a² to f32, half to even, before it takes 1 − a², also where a and r are close to their limits", async () => {
    const gates = [-30, -20, ...Array.from({ length: 80 }, (_, i) => i / 4 - 12), 40];
    const aParams = [-19.5, -18, -17, -16, -9, 3];
    const [T, R] = [gates.length, aParams.length];
    const each = (value: (gate: number) => number) => ({
      dims: [T, R],
      data: Float32Array.from({ length: T * R }, (_, i) => value(gates[Math.floor(i / R)]!)),
    });
    const [x, open, recurrentGate] = [each(() => 1), each(() => 40), each((gate) => gate)];
    const aParam = { dims: [R], data: Float32Array.from(aParams) };
    const state = { dims: [R], data: new Float32Array(R) };
    const pos = positions(1, T);
    const { y } = await run("rg_lru", [x, open, recurrentGate, aParam, pos, state]);
    const wanted = (aSquare: "float32" | "float64") =>
      reference.rg_lru(x.data, open.data, recurrentGate.data, aParam.data, pos.data, state.data, { T, R, aSquare }).y;
    expect(maxError(y!, wanted("float32"))).toBeLessThan(1e-6);
    expect(maxError(y!, wanted("float64"))).toBeGreaterThan(1e-5);
  });
});

describe("the local_attention body", () => {
  interface Case {
    T: number;
    from: number;
    N?: number;
    numKvHeads?: number;
    W?: number;
    H?: number;
    rotaryDim?: number;
    kv?: "f32" | "bf16";
  }

  async function attend({ T, from, N = 4, numKvHeads = 1, W = 8, H = 8, rotaryDim = 4, kv = "f32" }: Case) {
    const C = numKvHeads * H;
    const next = source(10);
    const [q, k, v, keys, values] = [next(T, N * H), next(T, C), next(T, C), next(W, C), next(W, C)];
    for (const ring of [keys, values]) {
      if (kv === "bf16") ring.data.set(ring.data.map(reference.round_bf16));
      if (from < W) ring.data.fill(1e9, from * C); // slots that no query may see
    }
    const pos = positions(from, T);
    const attributes = {
      head_dim: H,
      rotary_dim: rotaryDim,
      rope_theta: { float: 10000 },
      kv_dtype: kv === "f32" ? DataType.float : DataType.bfloat16,
    };
    const actual = await run("local_attention", [q, k, v, pos, keys, values], attributes);
    const options = { T, N, numKvHeads, H, W, rotaryDim, theta: 10000, kv };
    const expected = reference.local_attention(q.data, k.data, v.data, pos.data, keys.data, values.data, options);
    return { actual, expected };
  }

  const cases: Case[] = [
    { T: 1, from: 0 },
    { T: 1, from: 7 },
    { T: 1, from: 8 },
    { T: 1, from: 9 },
    { T: 1, from: 1000 },
    { T: 5, from: 0 },
    { T: 5, from: 6 },
    { T: 8, from: 3 },
    { T: 21, from: 0 },
    { T: 21, from: 13 },
    { T: 3, from: 100_000 },
    { T: 3, from: 2 ** 31 - 4 },
    { T: 9, from: 5, numKvHeads: 2 },
    { T: 9, from: 5, numKvHeads: 4 },
    { T: 9, from: 5, rotaryDim: 8 },
    { T: 9, from: 5, N: 1, W: 1 },
  ];
  it.each(cases)("sees W past keys and its own, and writes slot p mod W: %o", async (options) => {
    const { actual, expected } = await attend(options);
    expect(maxError(actual.y!, expected.y)).toBeLessThan(5e-6);
    expect(maxError(actual.new_keys!, expected.new_keys)).toBeLessThan(1e-6);
    expect(actual.new_values).toEqual(Float32Array.from(expected.new_values));
  });

  it("rounds keys and values to bf16, half to even, before a query reads them", async () => {
    const { actual, expected } = await attend({ T: 11, from: 5, numKvHeads: 2, kv: "bf16" });
    expect(actual.new_values).toEqual(Float32Array.from(expected.new_values));
    expect(actual.new_keys).toEqual(Float32Array.from(expected.new_keys));
    expect(maxError(actual.y!, expected.y)).toBeLessThan(5e-6);
  });
});
