import { beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint, type Checkpoint } from "../../src/checkpoint/load.ts";
import { demandedRows } from "../../src/engine/demand.ts";
import { Instance } from "../../src/engine/instance.ts";
import type { Plan } from "../../src/engine/plan.ts";
import { readGraph, type Graph } from "../../src/model/graph.ts";
import { decodeModel } from "../../src/model/onnx.ts";
import { opener } from "../checkpoint/folders.ts";
import { kernelModule, testModel } from "../parity/models.ts";

let checkpoint: Checkpoint;
let graph: Graph;
let instance: Instance;
beforeAll(async () => {
  checkpoint = await openCheckpoint(opener(await testModel("wide").checkpoint()));
  graph = readGraph(decodeModel(checkpoint.graph));
  instance = await Instance.prepare(kernelModule, checkpoint, { slots: 2, chunkTokens: 9, logitsTokens: 9 });
});

const planOf = (tokens: number, logits: "none" | "last" | "all", slot = 0) =>
  instance.plan(tokens, logits, instance.layout.slots[slot]!);
const rowsOf = (plan: Plan, value: string) =>
  plan.steps.flatMap(({ operands }) => operands).findLast(({ name }) => name === value)?.shape[0];

describe("demand", () => {
  it("computes the head on the last row alone, and nothing before the last block's mixing on fewer than all", () => {
    const demand = demandedRows(graph, "last");
    expect(demand.get("logits")).toBe("last");
    expect(demand.get("final_norm")).toBe("last");
    for (const { operator, outputs } of graph.nodes) {
      if (["rg_lru", "local_attention", "causal_conv1d"].includes(operator))
        expect(demand.get(outputs[0]!)).toBe("all");
    }
  });

  it("drops what only logits need when none are asked for, and nothing else", () => {
    const [none, last] = [planOf(5, "none"), planOf(5, "last")].map(({ steps }) => steps.map(({ node }) => node));
    expect(last!.length).toBe(graph.nodes.length);
    expect(none).toEqual(last!.filter((node) => none!.includes(node)));
    expect(last!.findLast((node) => !none!.includes(node))).toBe(graph.nodes.at(-1)!.name);
    expect(none!.some((node) => node.includes("rg_lru") || node.includes("attention"))).toBe(true);
  });
});

describe("a plan", () => {
  it("gives rows to values as they are demanded", () => {
    expect(rowsOf(planOf(5, "all"), "logits")).toBe(5);
    expect(rowsOf(planOf(5, "last"), "logits")).toBe(1);
    expect(rowsOf(planOf(5, "last"), "tokens")).toBe(5);
  });

  it("keeps every operand inside its part of memory and aligned", () => {
    const { layout } = instance;
    for (const logits of ["none", "last", "all"] as const) {
      for (const tokens of [1, 2, 9]) {
        for (const { node, operands } of planOf(tokens, logits, 1).steps) {
          for (const { name, address, shape, dtype } of operands) {
            const end = address + shape.reduce((total, size) => total * size, dtype === "bf16" ? 2 : 4);
            const weight = layout.weights.get(name);
            const entry = layout.slotEntries.find((each) => name === each.name || name === `${each.name}.out`);
            const [from, to] = weight
              ? [weight.address, weight.address + 2 * weight.lengthBytes + 64]
              : entry
                ? [layout.slots[1]!, layout.slots[1]! + layout.slotBytes]
                : [layout.arenaPtr, layout.arenaPtr + layout.arenaBytes];
            expect(address, `${node} ${name}`).toBeGreaterThanOrEqual(from);
            expect(end, `${node} ${name}`).toBeLessThanOrEqual(to);
          }
        }
      }
    }
  });

  it("never writes an output over an operand it still reads, unless the function allows it", () => {
    const mayShare = new Set(["rms_norm:x", "gelu_mul:gate", "silu_mul:gate", "soft_cap:x", "Add:a"]);
    for (const logits of ["none", "last", "all"] as const) {
      for (const { node, operands } of planOf(9, logits).steps) {
        const { operator, outputs, inputs } = graph.nodes.find(({ name }) => name === node)!;
        const at = new Map(operands.map((operand) => [operand.name, operand]));
        const range = (name: string) => {
          const { address, shape } = at.get(name)!;
          return [address, address + shape.reduce((total, size) => total * size, 4)] as const;
        };
        const [from, to] = range(outputs[0]!);
        for (const input of inputs) {
          const [begin, end] = range(input);
          const isAllowed =
            [...mayShare].some((pair) => pair.startsWith(`${operator}:`)) && begin === from && end === to;
          expect(isAllowed || end <= from || to <= begin, `${node}: ${outputs[0]} and ${input}`).toBe(true);
        }
      }
    }
  });

  it("puts the states of two slots in different places and everything else in the same", () => {
    const [a, b] = [planOf(3, "last", 0), planOf(3, "last", 1)].map(({ steps }) =>
      steps.flatMap(({ operands }) => operands),
    );
    for (const [i, operand] of a!.entries()) {
      const isState = instance.layout.slotEntries.some(({ name }) => operand.name.startsWith(name));
      expect(b![i]!.address - operand.address, operand.name).toBe(isState ? instance.layout.slotBytes : 0);
    }
  });
});
