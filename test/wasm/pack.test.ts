import { describe, expect, it } from "vitest";
import { expectSameBits, kernels, Operands, random, sizes } from "./harness.ts";
import { elements, rounded } from "./panels.ts";

const rowCounts = [1, 2, 3, 4, 5, 6, 7, 8];

describe.each(sizes)("packing rows of %i elements", (K) => {
  it.each(rowCounts)("puts %i rows of f32 side by side, in order, and zeros beside them", (rows) => {
    const weight = random(rows * K, 1);
    const operands = new Operands();
    const matrix = operands.input(weight);
    const panel = operands.output(8 * K);
    kernels.pack_f32(panel.ptr, matrix.ptr, rows, K);
    operands.check();
    const want = Float32Array.from({ length: 8 * K }, (_, i) => {
      const [k, r] = [Math.floor(i / 8), i % 8];
      return r < rows ? weight[r * K + k]! : 0;
    });
    expectSameBits(panel.f32(), want);
  });

  it.each(rowCounts)("puts %i rows of bf16 side by side as 0 4 1 5 2 6 3 7, and zeros beside them", (rows) => {
    const weight = elements(rounded(random(rows * K, 2), "bf16"), "bf16");
    const operands = new Operands();
    const matrix = operands.input(weight);
    const panel = operands.inOut(new Uint16Array(8 * K).fill(0xffff));
    kernels.pack_bf16(panel.ptr, matrix.ptr, rows, K);
    operands.check();
    const order = [0, 4, 1, 5, 2, 6, 3, 7];
    const want = Uint16Array.from({ length: 8 * K }, (_, i) => {
      const [k, r] = [Math.floor(i / 8), order[i % 8]!];
      return r < rows ? weight[r * K + k]! : 0;
    });
    expect(panel.u16()).toEqual(want);
  });
});

it("keeps every bit of infinities, denormals, negative zero and NaN", () => {
  const weight = new Float32Array(new Uint32Array([0x7f800000, 1, 0x80000000, 0xffc00001, 0x7fa00000]).buffer);
  const operands = new Operands();
  const matrix = operands.input(weight);
  const panel = operands.output(8 * 5);
  kernels.pack_f32(panel.ptr, matrix.ptr, 1, 5);
  const bits = new Uint32Array(panel.f32().buffer);
  expect(bits.filter((_, i) => i % 8 === 0)).toEqual(new Uint32Array(weight.buffer));
});
