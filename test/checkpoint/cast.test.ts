// Casts between stored dtypes: every bit pattern of the narrow ones, and rounding half to even.
import { describe, expect, it } from "vitest";
import { cast, tapsFirst } from "../../src/checkpoint/cast.ts";
import { bf16Round } from "../../src/model/bf16.ts";
import { randomF32, values } from "./folders.ts";

const every16 = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
const finite = (list: number[], exponentMask: number) => list.filter((_, i) => (i & exponentMask) !== exponentMask);

const f32Bits = (list: number[]) => new Uint8Array(Uint32Array.from(list).buffer);

describe("cast", () => {
  it.each([
    ["BF16", 0x7f80],
    ["F16", 0x7c00],
  ] as const)("widens every finite %s exactly, signed zeros and subnormals too", (dtype, exponentMask) => {
    const wide = values({ dtype: "F32", bytes: cast(every16, dtype, "F32") });
    const expected = values({ dtype, bytes: every16 });
    const bytesOf = (list: number[]) => Buffer.from(Float32Array.from(finite(list, exponentMask)).buffer);
    expect(bytesOf(wide).equals(bytesOf(expected))).toBe(true);
  });

  it("keeps infinities and NaNs of halves", () => {
    const halves = new Uint8Array(Uint16Array.of(0x7c00, 0xfc00, 0x7c01, 0xfe00).buffer);
    expect(values({ dtype: "F32", bytes: cast(halves, "F16", "F32") })).toEqual([Infinity, -Infinity, NaN, NaN]);
  });

  it("rounds f32 to the nearest bf16, and ties to even", () => {
    const narrow = cast(
      f32Bits([0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0xbf818000, 0x7f7fffff, 0x7f800001]),
      "F32",
      "BF16",
    );
    expect([...new Uint16Array(narrow.buffer)]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x3f80, 0xbf82, 0x7f80, 0x7fc0]);
  });

  it("narrows as bf16Round does, and takes bytes at any address", () => {
    const f32 = randomF32(1000, 77);
    const shifted = new Uint8Array(4001);
    shifted.set(new Uint8Array(f32.buffer), 1);
    for (const bytes of [shifted.subarray(1), Buffer.from(shifted.buffer, 1)]) {
      expect(values({ dtype: "BF16", bytes: cast(bytes, "F32", "BF16") })).toEqual(Array.from(f32, bf16Round));
    }
  });

  it("narrows halves by way of their exact value", () => {
    const narrow = values({ dtype: "BF16", bytes: cast(every16, "F16", "BF16") });
    const expected = values({ dtype: "F16", bytes: every16 }).map(bf16Round);
    expect(finite(narrow, 0x7c00)).toEqual(finite(expected, 0x7c00));
  });
});

describe("tapsFirst", () => {
  it("turns [R, 4] into [4, R], bytes of a larger buffer too", () => {
    const rows = Buffer.from(Float32Array.of(0, 1, 2, 3, 4, 10, 20, 30, 40, 100, 200, 300, 400, 0).buffer, 4, 48);
    expect([...new Float32Array(tapsFirst(rows, 4).slice().buffer)]).toEqual([
      1, 10, 100, 2, 20, 200, 3, 30, 300, 4, 40, 400,
    ]);
  });
});
