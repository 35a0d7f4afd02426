// What the engine runs instead of a graph's calls.
import { describe, expect, it } from "vitest";
import { fuse } from "../../src/engine/fuse.ts";
import type { GraphNode } from "../../src/model/graph.ts";
import { signatureOf } from "../../src/model/functions.ts";

/** A call; outputs beyond the first are states. */
const node = (operator: string, inputs: string, outputs: string): GraphNode => ({
  name: outputs.split(" ")[0]!,
  operator: signatureOf(operator).name,
  inputs: inputs.split(" "),
  outputs: outputs.split(" "),
  attributes: {},
});

const summary = (nodes: readonly GraphNode[]) =>
  fuse(nodes, []).map(
    ({ name, operator, inputs }) => `${name}: ${operator}(${inputs.map((x) => x || "-").join(", ")})`,
  );

describe("fusing", () => {
  it("takes the activation into the linear that makes its gate, after whatever it gates was made", () => {
    const mlp = [
      node("linear_q", "x g g_scale", "gate"),
      node("linear_q", "x u u_scale u_bias", "up"),
      node("gelu_mul", "gate up", "gated"),
      node("linear", "gated d", "y"),
    ];
    expect(summary(mlp)).toEqual([
      "up: linear_q(x, u, u_scale, u_bias)",
      "gated: gated_linear_q(x, g, g_scale, -, up)",
      "y: linear(gated, d)",
    ]);
    expect(fuse(mlp, [])[1]!.attributes).toEqual({ activation: 1 });
    expect(fuse([node("linear", "x g b", "gate"), node("silu_mul", "gate u", "y")], [])).toMatchObject([
      { name: "y", operator: "gated_linear", inputs: ["x", "g", "b", "u"], attributes: { activation: 2 } },
    ]);
  });

  it("leaves a gate of the linear's own input alone: the result would lie where the linear still reads", () => {
    const own = [node("linear", "x g", "gate"), node("gelu_mul", "gate x", "y")];
    expect(fuse(own, [])).toEqual(own);
    const bias = [node("linear", "x g b", "gate"), node("gelu_mul", "gate b", "y")];
    expect(fuse(bias, [])).toEqual(bias);
  });

  it("swallows nothing that is a result of the graph", () => {
    const mlp = [node("linear", "x g", "gate"), node("gelu_mul", "gate u", "y")];
    expect(fuse(mlp, ["y", "gate"])).toEqual(mlp);
    expect(fuse(mlp, ["y"]).length).toBe(1);
  });

  it("leaves a gate alone that somebody else looks at, or that no linear makes", () => {
    const looked = [node("linear", "x g", "gate"), node("gelu_mul", "gate x", "y"), node("Add", "gate y", "z")];
    expect(fuse(looked, [])).toEqual(looked);
    const other = [node("rms_norm", "x w", "gate"), node("gelu_mul", "gate x", "y")];
    expect(fuse(other, [])).toEqual(other);
  });

  it("makes one call of convolution, gates and recurrence", () => {
    const block = [
      node("causal_conv1d", "u cw cb cs", "c cs.out"),
      node("block_diagonal", "c iw ib", "i"),
      node("block_diagonal", "c rw rb", "r"),
      node("rg_lru", "c i r a pos s", "h s.out"),
    ];
    expect(fuse(block, [])).toMatchObject([
      {
        operator: "recurrence",
        inputs: ["u", "cw", "cb", "cs", "iw", "ib", "rw", "rb", "a", "pos", "s"],
        outputs: ["h", "cs.out", "s.out"],
      },
    ]);
    const looked = [...block, node("Add", "c h", "y")];
    expect(fuse(looked, [])).toEqual(looked);
    expect(fuse(block, ["h", "r"])).toEqual(block);
  });

  it("leaves a recurrence alone whose gates are made of something else", () => {
    for (const [input, recurrent] of [
      ["u", "c"],
      ["c", "u"],
    ]) {
      const other = [
        node("causal_conv1d", "u cw cb cs", "c cs.out"),
        node("block_diagonal", `${input} iw ib`, "i"),
        node("block_diagonal", `${recurrent} rw rb`, "r"),
        node("Add", "c c", "z"),
        node("rg_lru", "c i r a pos s", "h s.out"),
      ];
      // As often as in a recurrence that is fused, but by others.
      expect(fuse([...other.slice(0, 3), ...other.slice(4)], [])).toEqual([...other.slice(0, 3), ...other.slice(4)]);
      expect(fuse(other, [])).toEqual(other);
      const thrice = [...other.slice(0, 3), node("rms_norm", "c n", "z"), ...other.slice(4)];
      expect(fuse(thrice, [])).toEqual(thrice);
    }
  });
});
