import { describe, expect, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";

const cap = 30;

describe.each([false, true])("soft_cap, x overwritten: %s", (inPlace) => {
  it.each(sizes)("caps rows of %i", (size) => {
    for (const T of tokenCounts) {
      const count = T * size;
      const values = random(count, 1, 100);
      const operands = new Operands();
      const x = inPlace ? operands.inOut(values) : operands.input(values);
      const y = inPlace ? x : operands.output(count);
      kernels.soft_cap(y.ptr, x.ptr, count, cap);
      operands.check();
      expectClose("soft_cap", y.f32(), reference.soft_cap(values, { cap }));
    }
  });
});

it("soft_cap leaves small logits alone and holds huge ones at the cap", () => {
  const operands = new Operands();
  const x = operands.input(Float32Array.of(1e-20, -1e-20, 1e30, -1e30, Infinity));
  const y = operands.output(5);
  kernels.soft_cap(y.ptr, x.ptr, 5, cap);
  const [tiny, negative, ...huge] = y.f32();
  expect(tiny).toBeCloseTo(1e-20, 26);
  expect(negative).toBeCloseTo(-1e-20, 26);
  expect(huge).toEqual([30, -30, 30]);
});

it("an element's bits do not depend on where it stands", () => {
  const operands = new Operands();
  const x = operands.input(random(19, 2, 100));
  const whole = operands.output(19);
  const single = operands.output(19);
  kernels.soft_cap(whole.ptr, x.ptr, 19, cap);
  for (let i = 0; i < 76; i += 4) kernels.soft_cap(single.ptr + i, x.ptr + i, 1, cap);
  operands.check();
  expectSameBits(single.f32(), whole.f32());
});
