import { describe, expect, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";
import { dtypes, panels, rounded } from "./panels.ts";

describe.each(dtypes)("embed_%s", (dtype) => {
  const embed = (tokens: number[], table: Float32Array<ArrayBuffer>, V: number, D: number, scale: number) => {
    const operands = new Operands();
    const packed = panels(operands, table, V, D, dtype);
    const ids = operands.input(Int32Array.from(tokens));
    const y = operands.output(tokens.length * D);
    kernels[`embed_${dtype}`](y.ptr, ids.ptr, packed.ptr, tokens.length, D, scale);
    operands.check();
    return y.f32();
  };

  describe.each(sizes)("of width %i", (D) => {
    it.each(tokenCounts)("looks up and scales the rows of %i tokens", (T) => {
      const V = 21;
      const table = rounded(random(V * D, 1), dtype);
      const tokens = Array.from({ length: T }, (_, t) => (t * 8 + 20) % V);
      const scale = 50.5;
      expectClose(`embed_${dtype}`, embed(tokens, table, V, D, scale), reference.embed(tokens, table, { D, scale }));
    });
  });

  it("finds every row of full and partial panels", () => {
    const [V, D] = [19, 3];
    const table = rounded(random(V * D, 2), dtype);
    const tokens = Array.from({ length: V }, (_, token) => token);
    expect(embed(tokens, table, V, D, 1)).toEqual(table);
  });
});
