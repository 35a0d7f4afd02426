import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { alignmentBytes, placeLifetimes, type Lifetime } from "../../src/engine/arena.ts";

const lifetimes = fc
  .array(fc.record({ bytes: fc.integer({ min: 0, max: 500 }), from: fc.nat(20), length: fc.nat(8) }), { maxLength: 40 })
  .map((list) =>
    list.map(({ bytes, from, length }, i): Lifetime => ({ name: `v${i}`, bytes, from, to: from + length })),
  );

const meets = (a0: number, a1: number, b0: number, b1: number) => a0 < b1 && b0 < a1;

describe("the arena", () => {
  it("never gives two values that live at once the same byte, and aligns every value", () => {
    fc.assert(
      fc.property(lifetimes, (list) => {
        const { offsets, totalBytes } = placeLifetimes(list);
        for (const a of list) {
          const at = offsets.get(a.name)!;
          expect(at % alignmentBytes).toBe(0);
          expect(at + a.bytes).toBeLessThanOrEqual(totalBytes);
          for (const b of list) {
            if (a === b || !meets(a.from, a.to + 1, b.from, b.to + 1)) continue;
            expect(meets(at, at + a.bytes, offsets.get(b.name)!, offsets.get(b.name)! + b.bytes)).toBe(false);
          }
        }
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  it("gives bytes again once their value is dead", () => {
    const { totalBytes } = placeLifetimes([
      { name: "a", bytes: 64, from: 0, to: 1 },
      { name: "b", bytes: 64, from: 1, to: 2 },
      { name: "c", bytes: 64, from: 2, to: 3 },
    ]);
    expect(totalBytes).toBe(128);
  });
});
