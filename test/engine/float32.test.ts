import { describe, expect, it } from "vitest";
import { exp32, log32, sum32 } from "../../src/engine/float32.ts";
import vectors from "../vectors/sampling.json" with { type: "json" };
import { vectorLogits } from "./sampling-vectors.ts";

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);
const fromBits = (hex: string) => {
  words[0] = Number.parseInt(hex, 16);
  return floats[0]!;
};

/** How many f32 steps of size `spacing(exact)` lie between a result and the exact value. */
function unitsInLastPlace(result: number, exact: number): number {
  floats[0] = exact;
  const low = floats[0];
  words[0]!++;
  return Math.abs((result - exact) / (floats[0] - low));
}

describe("f32 arithmetic", () => {
  it.each([
    ["exp32", exp32],
    ["log32", log32],
  ] as const)("%s gives the same bits as Python", (name, f) => {
    expect(vectors[name].length).toBeGreaterThan(60);
    for (const [x, y] of vectors[name]) expect(f(fromBits(x!)), `${name}(${fromBits(x!)})`).toBe(fromBits(y!));
  });

  it.each([
    ["exp32", (step: number, i: number) => exp32(Math.fround(-step * i))],
    ["log32", (step: number, i: number) => log32(Math.fround(1 + step * i))],
  ] as const)("%s gives the same last bit as Python 131 072 times", (name, at) => {
    for (const [step, checksum] of vectors.checksums[name]) {
      let sum = 0;
      for (let i = 0; i < 2 ** 16; i++) {
        floats[0] = at(step!, i);
        sum = (sum + words[0]!) >>> 0;
      }
      expect(sum, `step ${step}`).toBe(checksum);
    }
  });

  it("exp32 is within 1 unit in the last place of the exact value", () => {
    const xs = Array.from({ length: 100_000 }, (_, i) => Math.fround(-87 * (i / 100_000) ** 3));
    expect(xs.filter((x) => unitsInLastPlace(exp32(x), Math.exp(x)) > 1)).toEqual([]);
  });

  it("log32 is within 1 unit in the last place of the exact value above 1", () => {
    const xs = Array.from({ length: 100_000 }, (_, i) => Math.fround(1.000001 + 300_000 * (i / 100_000) ** 4));
    expect(xs.filter((x) => unitsInLastPlace(log32(x), Math.log(x)) > 1)).toEqual([]);
  });

  it("exp32 of 0 is 1, and of anything below −87 it is 0", () => {
    expect(exp32(0)).toBe(1);
    expect(exp32(-0)).toBe(1);
    expect(exp32(-87.00001)).toBe(0);
    expect(exp32(-Infinity)).toBe(0);
  });

  it("sum32 adds in the same order as Python", () => {
    for (const { logits, bits } of vectors.sum32) {
      const terms = vectorLogits(logits);
      expect(sum32(terms.length, (i) => terms[i]!)).toBe(fromBits(bits));
    }
    expect(sum32(0, () => 1)).toBe(0);
  });

  it("sum32 does not lose many small terms beside a large one", () => {
    const sum = sum32(256_000, (i) => (i === 0 ? 1 : 2 ** -26));
    expect(sum).toBeCloseTo(1 + 256_000 * 2 ** -26, 4);
  });
});
