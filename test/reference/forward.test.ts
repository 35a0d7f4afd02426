import { describe, expect, it } from "vitest";
import { forward, greedy, referenceModel, statesAt } from "./forward.ts";
import { goldenNames, readGolden } from "./golden.ts";

/** The goldens were computed in f32, whose own rounding moves them by up to 8e-6. */
const tolerance = 2e-5;

function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let max = 0;
  // Not Math.max, and not `>`: a NaN must come through.
  for (let i = 0; i < a.length; i++) if (!(Math.abs(a[i]! - b[i]!) <= max)) max = Math.abs(a[i]! - b[i]!);
  return max;
}

describe.each(goldenNames)("the float64 forward pass on golden %s", (name) => {
  const golden = readGolden(name);
  const model = referenceModel(golden.config, golden.tensors);

  it("gives the reference's logits at every position", () => {
    expect(maxDifference(forward(model, golden.tokens).logits, golden.logits)).toBeLessThan(tolerance);
  });

  it("gives the reference's states at the recorded positions", () => {
    const states = statesAt(model, golden.tokens, [...golden.states.keys()]);
    expect(states.size).toBeGreaterThan(5);
    for (const [position, expected] of golden.states) {
      const entries = states.get(position)!.entries;
      expect([...entries.keys()].sort()).toEqual([...expected.keys()].sort());
      for (const [entry, values] of expected) {
        expect(maxDifference(entries.get(entry)!, values), `${entry} after ${position} tokens`).toBeLessThan(tolerance);
      }
    }
  });

  it("chooses the reference's tokens greedily", () => {
    expect(greedy(model, golden.greedy!.prompt, golden.greedy!.tokens.length)).toEqual([...golden.greedy!.tokens]);
  });

  it("computes the same whole and token by token", () => {
    const whole = forward(model, golden.tokens);
    const states = statesAt(
      model,
      golden.tokens,
      Array.from(golden.tokens, (_, t) => t + 1),
    );
    expect(states.get(golden.tokens.length)).toEqual(whole.state);
  });
});

it("the float64 forward pass gives the reference's logits for the pocket model", () => {
  const golden = readGolden("pocket");
  const model = referenceModel(golden.config, golden.tensors);
  expect(maxDifference(forward(model, golden.tokens).logits, golden.logits)).toBeLessThan(tolerance);
});
