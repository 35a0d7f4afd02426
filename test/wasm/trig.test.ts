import { describe, expect, it } from "vitest";
import { kernels, Operands } from "./harness.ts";

/** Half a unit in the last place of an f32 in [½, 1], and what the f64 arithmetic before that rounding may add. */
const tolerance = 2 ** -25 * 1.001;

/** The kernels work in pairs. */
const even = (count: number) => count + (count % 2);

function rope_frequencies(rotaryDim: number, theta: number): Float64Array {
  const operands = new Operands();
  const frequency = operands.output(2 * even(rotaryDim / 2));
  kernels.rope_frequencies(frequency.ptr, rotaryDim, theta);
  operands.check();
  return new Float64Array(frequency.f32().buffer);
}

function rope_angles(frequency: Float64Array, half: number, position: number) {
  const operands = new Operands();
  const input = operands.input(new Float32Array(frequency.buffer));
  const [cos, sin] = [operands.output(even(half)), operands.output(even(half))];
  kernels.rope_angles(cos.ptr, sin.ptr, input.ptr, half, position);
  operands.check();
  return { cos: cos.f32(), sin: sin.f32() };
}

describe("the angles of RoPE", () => {
  it.each([2, 4, 6, 10, 32, 128])("have the frequencies θ^(−2i / %i)", (rotaryDim) => {
    for (const theta of [10000, 500, 1e6]) {
      const got = rope_frequencies(rotaryDim, theta);
      for (let i = 0; i < rotaryDim / 2; i++) {
        const want = theta ** ((-2 * i) / rotaryDim);
        expect(Math.abs(got[i]! - want)).toBeLessThanOrEqual(want * 2 ** -51);
      }
    }
  });

  const positions = [0, 1, 2, 3, 1000, 99_999, 100_000, 1_000_000, 2 ** 24 + 1, 2 ** 30 - 1, 2 ** 31 - 1];
  it.each(positions)("have f32's cosine and sine at position %i", (position) => {
    const half = 64;
    const frequency = rope_frequencies(2 * half, 10000);
    const { cos, sin } = rope_angles(frequency, half, position);
    for (let i = 0; i < half; i++) {
      const angle = position * frequency[i]!;
      expect(Math.abs(cos[i]! - Math.cos(angle))).toBeLessThanOrEqual(tolerance);
      expect(Math.abs(sin[i]! - Math.sin(angle))).toBeLessThanOrEqual(tolerance);
    }
  });

  it("are exact in all four quarters of a turn, just beside their borders and on either side of 2³¹ / (π/2)", () => {
    const quarter = Math.PI / 2;
    const turns = [0, 1, 2, 3, 4, 5, 6, 7, 636_619, 636_620, 1_367_130_550, 1_367_130_551].flatMap((n) =>
      [-0.5, -0.499999, -1e-9, 0, 1e-9, 0.3, 0.499999].map((part) => Math.abs((n + part) * quarter)),
    );
    const { cos, sin } = rope_angles(Float64Array.from(turns), turns.length, 1);
    turns.forEach((angle, i) => {
      expect(Math.abs(cos[i]! - Math.cos(angle))).toBeLessThanOrEqual(tolerance);
      expect(Math.abs(sin[i]! - Math.sin(angle))).toBeLessThanOrEqual(tolerance);
    });
  });

  it("come out right for an odd number of pairs", () => {
    const frequency = Float64Array.of(1, 0.25, 0.0625, 0);
    const { cos, sin } = rope_angles(frequency, 3, 7);
    for (let i = 0; i < 3; i++) {
      expect(cos[i]).toBe(Math.fround(Math.cos(7 * frequency[i]!)));
      expect(sin[i]).toBe(Math.fround(Math.sin(7 * frequency[i]!)));
    }
  });
});
