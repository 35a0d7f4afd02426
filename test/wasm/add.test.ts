import { describe, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";

describe.each(["neither", "a", "b"] as const)("add, where y is %s of its operands", (alias) => {
  it.each(sizes)("sums rows of %i", (size) => {
    for (const T of tokenCounts) {
      const count = T * size;
      const values = { a: random(count, 1), b: random(count, 2) };
      const operands = new Operands();
      const a = alias === "a" ? operands.inOut(values.a) : operands.input(values.a);
      const b = alias === "b" ? operands.inOut(values.b) : operands.input(values.b);
      const y = { a, b, neither: alias === "neither" ? operands.output(count) : a }[alias];
      kernels.add(y.ptr, a.ptr, b.ptr, count);
      operands.check();
      expectClose("add", y.f32(), reference.add(values.a, values.b));
    }
  });
});
