import { describe, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";

const epsilon = 1e-6;

function rms_norm(x: Float32Array, weight: Float32Array, T: number, atOnce = T, inPlace = false): Float32Array {
  const D = weight.length;
  const operands = new Operands();
  const gain = operands.input(weight);
  const input = inPlace ? operands.inOut(x) : operands.input(x);
  const y = inPlace ? input : operands.output(x.length);
  for (let t = 0; t < T; t += atOnce) {
    const offsetBytes = t * D * 4;
    kernels.rms_norm(y.ptr + offsetBytes, input.ptr + offsetBytes, gain.ptr, Math.min(atOnce, T - t), D, epsilon);
  }
  operands.check();
  return y.f32();
}

describe.each(sizes)("rms_norm over width %i", (D) => {
  it.each(tokenCounts)("normalises %i tokens, in place too", (T) => {
    const [x, weight] = [random(T * D, 1, 3), random(D, 2)];
    const y = rms_norm(x, weight, T);
    expectClose("rms_norm", y, reference.rms_norm(x, weight, { T, D, epsilon }));
    expectSameBits(rms_norm(x, weight, T, T, true), y);
  });

  it("gives a token the same bits alone and among others, wherever its row begins in memory", () => {
    const [row, weight] = [random(D, 3), random(D, 4)];
    const x = Float32Array.from({ length: 9 * D }, (_, i) => row[i % D]!);
    const alone = rms_norm(row, weight, 1);
    const want = Float32Array.from({ length: 9 * D }, (_, i) => alone[i % D]!);
    expectSameBits(rms_norm(x, weight, 9), want);
    expectSameBits(rms_norm(x, weight, 9, 1), want);
  });

  it("keeps a row of zeros at zero and scales tiny rows by 1/√ε at most", () => {
    for (const value of [0, 1e-6]) {
      const x = new Float32Array(D).fill(value);
      const weight = new Float32Array(D);
      expectClose("rms_norm", rms_norm(x, weight, 1), reference.rms_norm(x, weight, { T: 1, D, epsilon }));
    }
  });
});
