import { describe, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, tokenCounts } from "./harness.ts";

interface Call {
  T: number;
  B: number;
  S: number;
  x: Float32Array;
  weight: Float32Array;
  bias: Float32Array;
}

const call = (T: number, B: number, S: number): Call => ({
  T,
  B,
  S,
  x: random(T * B * S, 1),
  weight: random(B * S * S, 2, 1 / Math.sqrt(S)),
  bias: random(B * S, 3),
});

function block_diagonal({ T, B, S, x, weight, bias }: Call, atOnce = T): Float32Array {
  const operands = new Operands();
  const [input, matrices, biases] = [x, weight, bias].map((values) => operands.input(values));
  const y = operands.output(x.length);
  for (let t = 0; t < T; t += atOnce) {
    const offsetBytes = t * B * S * 4;
    const tokens = Math.min(atOnce, T - t);
    kernels.block_diagonal(y.ptr + offsetBytes, input!.ptr + offsetBytes, matrices!.ptr, biases!.ptr, tokens, B, S);
  }
  operands.check();
  return y.f32();
}

/** The order of additions that the kernel promises, one f32 operation at a time. */
function chain({ T, B, S, x, weight, bias }: Call): Float32Array {
  return Float32Array.from({ length: T * B * S }, (_, i) => {
    const [row, out] = [Math.floor(i / S), i % S];
    const b = row % B;
    let sum = 0;
    for (let k = 0; k < S; k++) {
      sum = Math.fround(sum + Math.fround(weight[(b * S + k) * S + out]! * x[row * S + k]!));
    }
    return sum + bias[b * S + out]!;
  });
}

describe.each([0, 1, 3, 4, 5, 8, 16, 17, 32, 35, 64, 100, 256])("block_diagonal with blocks of %i", (S) => {
  it.each(tokenCounts)("multiplies %i tokens block by block", (T) => {
    for (const B of S < 256 ? [1, 2, 3] : [10]) {
      const { x, weight, bias, ...axes } = call(T, B, S);
      const got = block_diagonal({ x, weight, bias, ...axes });
      expectClose("block_diagonal", got, reference.block_diagonal(x, weight, bias, axes));
    }
  });

  it("adds every product in order of the inputs, then the bias, for one token as for many", () => {
    const operands = call(5, 3, S);
    const want = chain(operands);
    for (const atOnce of [5, 2, 1]) expectSameBits(block_diagonal(operands, atOnce), want);
  });
});

it("block_diagonal multiplies one block of 2560, which is a linear and rounds as often", () => {
  for (const T of [1, 2, 5]) {
    const { x, weight, bias, ...axes } = call(T, 1, 2560);
    const got = block_diagonal({ x, weight, bias, ...axes });
    expectClose("linear_f32", got, reference.block_diagonal(x, weight, bias, axes));
    expectSameBits(got, chain({ x, weight, bias, ...axes }));
  }
});
