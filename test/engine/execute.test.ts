// Small graphs from their weights to their logits, where whole models have no such case.
import { describe, expect, it } from "vitest";
import { execute } from "../../src/engine/execute.ts";
import { instantiateKernels } from "../../src/engine/kernels.ts";
import { addressableBytes, layoutMemory, reserve } from "../../src/engine/memory.ts";
import { buildPlan } from "../../src/engine/plan.ts";
import { schedule } from "../../src/engine/schedule.ts";
import { stagingBytes, storeWeights } from "../../src/engine/weights.ts";
import type { Graph, GraphNode } from "../../src/model/graph.ts";
import { signatureOf } from "../../src/model/functions.ts";
import type { ElementType } from "../../src/model/weights.ts";
import { kernelModule, maxDifference } from "../parity/models.ts";
import { embed, linear, silu_mul } from "../reference/kernels.ts";
import { random } from "../wasm/harness.ts";

interface Weight {
  dtype: ElementType;
  shape: number[];
  bytes: Uint8Array;
}

const f32 = (values: Float32Array, ...shape: number[]): Weight => ({
  dtype: "f32",
  shape,
  bytes: new Uint8Array(values.buffer),
});

const node = (operator: string, inputs: string, outputs: string, attributes = {}): GraphNode => ({
  name: outputs,
  operator: signatureOf(operator).name,
  inputs: inputs.split(" "),
  outputs: outputs.split(" "),
  attributes,
});

/** Logits [T, width] of a graph of these nodes. */
async function run(nodes: GraphNode[], weights: Record<string, Weight>, width: number, tokens: number[]) {
  const initializers = new Map(
    Object.entries(weights).map(([name, { dtype, shape, bytes }]) => [
      name,
      { dtype, shape, offsetBytes: 0, lengthBytes: bytes.byteLength },
    ]),
  );
  const graph: Graph = {
    inputs: (["tokens", "pos"] as const).map((name) => ({ name, dtype: "i32", shape: ["T"] })),
    outputs: [{ name: "logits", dtype: "f32", shape: ["T", width] }],
    nodes,
    initializers,
  };
  const kernels = await instantiateKernels(kernelModule);
  const scheduled = schedule(graph, kernels, tokens.length, "all");
  const sizes = { heapBase: kernels.heap_base(), slots: 1, chunkTokens: tokens.length, limitBytes: addressableBytes };
  const arenaBytes = Math.max(scheduled.arenaBytes, stagingBytes(graph));
  const layout = layoutMemory(graph, { entries: [], totalBytes: 0 }, { ...sizes, arenaBytes });
  reserve(kernels.memory, layout.totalBytes);
  async function* pieces() {
    for (const [name, weight] of Object.entries(weights)) yield { name, offsetBytes: 0, ...weight };
  }
  await storeWeights(kernels, layout.weights, pieces(), layout.arenaPtr);
  const plan = buildPlan(scheduled, tokens.length, layout);
  new Int32Array(kernels.memory.buffer, plan.tokensPtr, tokens.length).set(tokens);
  execute(kernels, plan, 0);
  const logits = new Float32Array(kernels.memory.buffer, plan.logitsPtr, tokens.length * width).slice();
  return { logits, kernels: plan.steps.map(({ kernel }) => kernel) };
}

describe("a graph", () => {
  it.each([
    ["by itself", "gate x"],
    ["by its gate", "x gate"],
    ["by another value", "gate other"],
  ])("that gates what its linear reads %s computes what its functions say", async (_, operands) => {
    // More rows than a panel has, so that a result over the linear's own input would change what later panels read.
    const [D, V, T] = [24, 5, 3];
    const [table, weight, weight2] = [random(V * D, 1), random(D * D, 2), random(D * D, 3)];
    const nodes = [
      node("embed", "tokens table", "x", { scale: 1 }),
      node("linear", "x weight", "gate"),
      ...(operands === "gate other" ? [node("linear", "x weight2", "other")] : []),
      node("silu_mul", operands, "logits"),
    ];
    const weights = { table: f32(table, V, D), weight: f32(weight, D, D), weight2: f32(weight2, D, D) };
    const tokens = [4, 0, 2];
    const { logits } = await run(nodes, weights, D, tokens);
    const x = embed(tokens, table, { D, scale: 1 });
    const sizes = { T, K: D, M: D };
    const values: Record<string, Float64Array> = {
      x,
      gate: linear(x, weight, undefined, sizes),
      other: linear(x, weight2, undefined, sizes),
    };
    const [gate = "", other = ""] = operands.split(" ");
    expect(maxDifference(logits, silu_mul(values[gate]!, values[other]!))).toBeLessThan(1e-5);
  });
});

describe("weights in int8", () => {
  it("are refused outside of −63…63, where not every build would add them up exactly", async () => {
    const nodes = [node("embed", "tokens table", "x", { scale: 1 }), node("linear_q", "x weight scale", "logits")];
    const values = (extreme: number) => {
      const bytes = new Int8Array(6 * 32).fill(63);
      bytes[5 * 32 + 7] = extreme;
      return {
        table: f32(random(4 * 32, 1), 4, 32),
        weight: { dtype: "i8" as const, shape: [6, 32], bytes: new Uint8Array(bytes.buffer) },
        scale: f32(new Float32Array(6).fill(0.01), 6, 1),
      };
    };
    expect((await run(nodes, values(-63), 6, [1])).logits.every(Number.isFinite)).toBe(true);
    for (const extreme of [-64, 64, -128]) {
      await expect(run(nodes, values(extreme), 6, [1])).rejects.toMatchObject({
        code: "invalid_checkpoint",
        message: expect.stringContaining('"weight"'),
      });
    }
  });
});
