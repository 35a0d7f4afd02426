import { describe, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";

describe.each([false, true])("gelu_mul, gate overwritten: %s", (inPlace) => {
  it.each(sizes)("gates rows of %i", (size) => {
    for (const T of tokenCounts) {
      const count = T * size;
      const values = { gate: random(count, 1, 8), x: random(count, 2) };
      const operands = new Operands();
      const gate = inPlace ? operands.inOut(values.gate) : operands.input(values.gate);
      const x = operands.input(values.x);
      const y = inPlace ? gate : operands.output(count);
      kernels.gelu_mul(y.ptr, gate.ptr, x.ptr, count);
      operands.check();
      expectClose("gelu_mul", y.f32(), reference.gelu_mul(values.gate, values.x));
    }
  });
});

it("an element's bits do not depend on where it stands", () => {
  const operands = new Operands();
  const gate = operands.input(random(19, 3, 8));
  const x = operands.input(random(19, 4));
  const whole = operands.output(19);
  const single = operands.output(19);
  kernels.gelu_mul(whole.ptr, gate.ptr, x.ptr, 19);
  for (let i = 0; i < 76; i += 4) kernels.gelu_mul(single.ptr + i, gate.ptr + i, x.ptr + i, 1);
  operands.check();
  expectSameBits(single.f32(), whole.f32());
});
