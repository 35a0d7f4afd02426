import { beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint, type Checkpoint } from "../../src/checkpoint/load.ts";
import { demandedRows } from "../../src/engine/demand.ts";
import { fuse, stepSignatures } from "../../src/engine/fuse.ts";
import { chunkTokensFor, Instance } from "../../src/engine/instance.ts";
import type { Plan } from "../../src/engine/plan.ts";
import { parseConfig } from "../../src/model/config.ts";
import type { Format } from "../../src/model/weights.ts";
import { readGraph, type Graph } from "../../src/model/graph.ts";
import { decodeModel } from "../../src/model/onnx.ts";
import { opener } from "../checkpoint/folders.ts";
import { kernelModule, randomFolder, testModel } from "../parity/models.ts";

let checkpoint: Checkpoint;
let graph: Graph;
let instance: Instance;
beforeAll(async () => {
  checkpoint = await openCheckpoint(opener(await testModel("wide").checkpoint()));
  graph = readGraph(decodeModel(checkpoint.graph));
  instance = await Instance.prepare(kernelModule, checkpoint, { slots: 2, chunkTokens: 9, logitsTokens: 9 });
});

const fused = () =>
  fuse(
    graph.nodes,
    graph.outputs.map(({ name }) => name),
  );
const planOf = (tokens: number, logits: "none" | "last" | "all") => instance.plan(tokens, logits);
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
    expect(last!.length).toBe(fused().length);
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
        for (const { node, operands } of planOf(tokens, logits).steps) {
          for (const { name, address, shape, dtype, inSlot } of operands) {
            const end = address + shape.reduce((total, size) => total * size, dtype === "bf16" ? 2 : 4);
            const weight = layout.weights.get(name);
            const [from, to] = weight
              ? [weight.address, weight.address + 2 * weight.lengthBytes + 64]
              : inSlot
                ? [0, layout.slotBytes]
                : [layout.arenaPtr, layout.arenaPtr + layout.arenaBytes];
            expect(address, `${node} ${name}`).toBeGreaterThanOrEqual(from);
            expect(end, `${node} ${name}`).toBeLessThanOrEqual(to);
          }
        }
      }
    }
  });

  it("never writes an output over an operand it still reads, unless the function allows it", () => {
    for (const logits of ["none", "last", "all"] as const) {
      for (const { node, operands } of planOf(9, logits).steps) {
        const { operator, outputs, inputs } = fused().find(({ name }) => name === node)!;
        const { inPlace, inputs: operandNames } = stepSignatures[operator];
        const at = new Map(operands.map((operand) => [operand.name, operand]));
        const range = (name: string) => {
          const { address, shape } = at.get(name)!;
          return [address, address + shape.reduce((total, size) => total * size, 4)] as const;
        };
        const [from, to] = range(outputs[0]!);
        for (const [i, input] of inputs.entries()) {
          if (input === "") continue;
          const [begin, end] = range(input);
          const isAllowed = operandNames[i] === inPlace && begin === from && end === to;
          expect(isAllowed || end <= from || to <= begin, `${node}: ${outputs[0]} and ${input}`).toBe(true);
        }
      }
    }
  });

  it("has the addresses of states relative to a slot, and says which arguments those are", () => {
    const inSlot = new Set<string>();
    for (const { args, slotArgs, operands } of planOf(3, "last").steps) {
      const states = operands.filter((operand) => operand.inSlot);
      for (const { name } of states) inSlot.add(name.replace(/\.out$/, ""));
      expect(new Set(slotArgs.map((i) => args[i]))).toEqual(new Set(states.map(({ address }) => address)));
    }
    expect([...inSlot].sort()).toEqual(instance.stateLayout.entries.map(({ name }) => name).sort());
  });
});

describe("the arena of an instance", () => {
  it("holds every pass of up to its tokens, whatever the sizes of the model", async () => {
    // Largest-first placement is not monotone: for some sizes, fewer tokens would need more room if placed anew.
    const sizes = { width: 72, lruWidth: 4, mlpWidth: 100, vocabSize: 100, numHeads: 1, numKvHeads: 1, headDim: 32 };
    const blockTypes = ["attention", "recurrent", "attention"] as const;
    const config = { ...testModel("wide").config, ...sizes, rotaryDim: 16, window: 64, blockTypes };
    const folder = await randomFolder(config, 77);
    const wide = await Instance.prepare(kernelModule, await openCheckpoint(opener(folder)), {
      chunkTokens: 20,
      logitsTokens: 20,
    });
    const { arenaPtr, arenaBytes } = wide.layout;
    for (const logits of ["none", "last", "all"] as const) {
      for (let tokens = 1; tokens <= 20; tokens++) {
        for (const { operands } of wide.plan(tokens, logits).steps) {
          for (const { name, address, shape, inSlot } of operands) {
            if (inSlot || wide.layout.weights.has(name)) continue;
            const end = address + shape.reduce((total, size) => total * size, 4);
            expect(end, `${name} in a pass of ${tokens}`).toBeLessThanOrEqual(arenaPtr + arenaBytes);
          }
        }
      }
    }
    expect(() => wide.plan(21, "last")).toThrow(/does not fit/);
  });
});

describe("a graph that is not its config's", () => {
  it.each([
    ["a shorter window", { attention_window_size: 8 }, /layers\.2\.keys.* is \[32, 32\], expected \[8, 32\]/],
    ["a longer window", { attention_window_size: 64 }, /expected \[64, 32\]/],
    ["another vocabulary", { vocab_size: 321 }, /logits/],
    ["other blocks", { block_types: ["recurrent"], _block_types: ["recurrent"] }, /layers\.2/],
  ])("with %s is refused", async (_, change, message) => {
    const manifest = { ...checkpoint.manifest, config: { ...checkpoint.manifest.config, ...change } };
    const changed = { ...checkpoint, manifest, config: parseConfig(manifest.config) };
    const refused = Instance.prepare(kernelModule, changed);
    await expect(refused).rejects.toMatchObject({ code: "invalid_graph", message: expect.stringMatching(message) });
  });

  it.each([
    ["heads of another size", { head_dim: 16, num_attention_heads: 8 }, /head_dim|is \[/],
    ["another rotation", { rope_theta: 20_000 }, /rope_theta .* is 10000, expected 20000/],
    ["less of a head rotated", { partial_rotary_factor: 0.25 }, /rotary_dim .* expected/],
  ])("with %s is refused", async (_, change, message) => {
    const manifest = { ...checkpoint.manifest, config: { ...checkpoint.manifest.config, ...change } };
    const changed = { ...checkpoint, manifest, config: parseConfig(manifest.config) };
    const refused = Instance.prepare(kernelModule, changed);
    await expect(refused).rejects.toMatchObject({ code: "invalid_graph", message: expect.stringMatching(message) });
  });

  it("with another dtype of its window is refused", async () => {
    const manifest = { ...checkpoint.manifest, kv: "bf16" as const };
    await expect(Instance.prepare(kernelModule, { ...checkpoint, manifest })).rejects.toThrow(
      /kv_dtype .* is 1, expected 16/,
    );
  });
});

describe("a chunk of a prompt", () => {
  it("is shorter the larger the model is, so that nobody waits long for it", () => {
    const chunks = (format: Format) =>
      [3_100_000, 30_000_000, 2_700_000_000].map((parameters) => chunkTokensFor({ parameters, format }));
    expect(chunks("int8")).toEqual([64, 20, 8]);
    expect(chunks("f32")).toEqual([64, 10, 8]);
  });
});
