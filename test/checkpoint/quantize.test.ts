import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quantized, scalesOf } from "../../src/checkpoint/quantize.ts";

const seed = 20_261_125;
const integersOf = (bytes: Uint8Array, type: "i8" | "i4") =>
  type === "i8"
    ? Array.from(new Int8Array(bytes.buffer))
    : Array.from(bytes).flatMap((byte) => [(byte << 28) >> 28, (byte << 24) >> 28]);

describe("int8", () => {
  it("divides by the largest magnitude over 63 and rounds half to even", () => {
    const values = Float32Array.of(63, -31.5, 0.5, 1.5, 2.5, -0.5, -62.6, 0);
    expect([...scalesOf(values, 8, "i8")]).toEqual([1]);
    expect(integersOf(quantized(values, 8, "i8"), "i8")).toEqual([63, -32, 0, 2, 2, 0, -63, 0]);
  });

  it("gives every 32 of a row a scale, and the rest of a row its own", () => {
    const values = Float32Array.from({ length: 2 * 40 }, (_, i) => (i < 32 ? 63 : i < 40 ? 126 : i < 72 ? 6.3 : 0));
    expect([...scalesOf(values, 40, "i8")].map((scale) => Math.fround(scale * 10) / 10)).toEqual(
      [1, 2, 0.1, 0].map((scale) => Math.fround(Math.fround(scale) * 10) / 10),
    );
    expect(integersOf(quantized(values, 40, "i8"), "i8")).toEqual([...Array(72).fill(63), ...Array(8).fill(0)]);
  });
});

describe("int4", () => {
  it("makes the first value of largest magnitude −8, cuts what would be 8, and puts the first in the low nibble", () => {
    const values = Float32Array.of(-16, 16, 3, 5, 2, -2.9, 0, 1);
    expect([...scalesOf(values, 8, "i4")]).toEqual([2]);
    const bytes = quantized(values, 8, "i4");
    expect(integersOf(bytes, "i4")).toEqual([-8, 7, 2, 2, 1, -1, 0, 0]);
    expect(bytes[0]).toBe(0x78);
    expect([
      ...scalesOf(
        values.map((value) => -value),
        8,
        "i4",
      ),
    ]).toEqual([-2]);
  });
});

describe.each([
  ["i8", 0.5 / 63],
  ["i4", 1 / 8],
] as const)("%s", (type, step) => {
  it("is within a step of every value", () => {
    const rows = fc.array(
      fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(-1e30), max: Math.fround(1e30) }),
      {
        minLength: 70,
        maxLength: 70,
      },
    );
    fc.assert(
      fc.property(rows, (list) => {
        const values = Float32Array.from(list, (value) => (Math.abs(value) < 1e-30 ? 0 : value));
        const scales = scalesOf(values, 70, type);
        integersOf(quantized(values, 70, type), type).forEach((q, i) => {
          const block = values.subarray(i - (i % 70) + 32 * Math.floor((i % 70) / 32)).subarray(0, 32);
          const largest = Math.max(...block.map(Math.abs));
          const error = Math.abs(q * scales[Math.floor((i % 70) / 32)]! - values[i]!);
          expect(error).toBeLessThanOrEqual(largest * step * (1 + 1e-5));
        });
      }),
      { seed },
    );
  });

  it("refuses what is not finite", () => {
    for (const bad of [NaN, Infinity]) {
      expect(() => scalesOf(Float32Array.of(1, bad), 2, type)).toThrow(/cannot be quantised/);
    }
  });
});
