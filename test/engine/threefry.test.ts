import { describe, expect, it } from "vitest";
import { keyOf, threefry2x32, uniformAt, type Words } from "../../src/engine/threefry.ts";
import vectors from "../vectors/sampling.json" with { type: "json" };

describe("threefry2x32", () => {
  it.each<[Words, Words, Words]>([
    [
      [0, 0],
      [0, 0],
      [0x6b200159, 0x99ba4efe],
    ],
    [
      [0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x1cb996fc, 0xbb002be7],
    ],
    [
      [0x243f6a88, 0x85a308d3],
      [0x13198a2e, 0x03707344],
      [0xc4923a9c, 0x483df7a0],
    ],
  ])("gives Random123's known answer for counter %j and key %j", (counter, key, words) => {
    expect(threefry2x32(key, counter)).toEqual(words);
  });

  it("takes a seed's high word as the first word of the key", () => {
    expect(keyOf(0xfedcba9876543210n)).toEqual([0xfedcba98, 0x76543210]);
    expect(keyOf(5n)).toEqual([0, 5]);
  });

  it("draws the same uniform numbers as Python", () => {
    expect(vectors.uniform.length).toBeGreaterThan(20);
    for (const [seed, position, u] of vectors.uniform) {
      expect(uniformAt(keyOf(BigInt(seed!)), Number(position)), `seed ${seed}, position ${position}`).toBe(u);
    }
  });

  it("draws numbers that are spread evenly over [0, 1)", () => {
    const key = keyOf(1234n);
    const buckets = Array.from({ length: 64 }, () => 0);
    for (let position = 0; position < 64_000; position++) buckets[Math.floor(uniformAt(key, position) * 64)]!++;
    const chiSquare = buckets.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(chiSquare).toBeLessThan(103.4); // 63 degrees of freedom, p = 0.001
  });
});
