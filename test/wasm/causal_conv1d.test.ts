import { describe, expect, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";

/** Runs the kernel over consecutive chunks of x, carrying its state. */
function convolve(x: Float32Array, weight: Float32Array, bias: Float32Array, state: Float32Array, chunks: number[]) {
  const R = bias.length;
  const operands = new Operands();
  const xs = operands.input(x);
  const weights = operands.input(weight);
  const biases = operands.input(bias);
  const carried = operands.inOut(state);
  const y = operands.output(x.length);
  let offsetBytes = 0;
  for (const T of chunks) {
    kernels.causal_conv1d(y.ptr + offsetBytes, xs.ptr + offsetBytes, weights.ptr, biases.ptr, carried.ptr, T, R);
    offsetBytes += T * R * 4;
  }
  operands.check();
  return { y: y.f32(), state: carried.f32() };
}

const operandsOf = (T: number, R: number) =>
  [random(T * R, 1), random(4 * R, 2), random(R, 3), random(3 * R, 4)] as const;

describe.each(sizes)("causal_conv1d over %i channels", (R) => {
  it.each([0, 3, ...tokenCounts])("convolves %i tokens and keeps the last three inputs", (T) => {
    const [x, weight, bias, state] = operandsOf(T, R);
    const got = convolve(x, weight, bias, state, [T]);
    const want = reference.causal_conv1d(x, weight, bias, state, { T, R });
    expectClose("causal_conv1d", got.y, want.y);
    expectSameBits(got.state, Float32Array.from(want.new_state));
  });
});

it.each([[Array<number>(64).fill(1)], [[1, 2, 3, 58]], [[61, 2, 1]]])("gives the same bits split into %j", (chunks) => {
  const [x, weight, bias, state] = operandsOf(64, 17);
  const whole = convolve(x, weight, bias, state, [64]);
  const split = convolve(x, weight, bias, state, chunks);
  expectSameBits(split.y, whole.y);
  expectSameBits(split.state, whole.state);
});

it("adds the oldest tap first and the bias last", () => {
  // In this order 2²⁴ + 1 rounds to 2²⁴ twice before it is taken away; in any other one a 1 survives.
  const big = 2 ** 24;
  const { y } = convolve(
    Float32Array.of(-big),
    Float32Array.of(1, 1, 1, 1),
    Float32Array.of(0.5),
    Float32Array.of(big, 1, 1),
    [1],
  );
  expect(y[0]).toBe(0.5);
});
