import { describe, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, sizes, tokenCounts, type Operand } from "./harness.ts";
import { dtypes, panels, rounded, type Dtype } from "./panels.ts";

interface Call {
  T: number;
  K: number;
  M: number;
  x: Float32Array<ArrayBuffer>;
  weight: Float32Array<ArrayBuffer>;
  bias: Float32Array<ArrayBuffer> | undefined;
}

const call = (T: number, K: number, M: number, dtype: Dtype, withBias = true): Call => ({
  T,
  K,
  M,
  x: random(T * K, 1),
  weight: rounded(random(M * K, 2, 1 / Math.sqrt(K)), dtype),
  bias: withBias ? random(M, 3) : undefined,
});

/** Runs all tokens in calls of at most `atOnce`. */
function linear({ T, K, M, x, weight, bias }: Call, dtype: Dtype, atOnce: number): Float32Array {
  const operands = new Operands();
  const packed = panels(operands, weight, M, K, dtype);
  const input = operands.input(x);
  const biasPtr = bias === undefined ? 0 : operands.input(bias).ptr;
  const y = operands.output(T * M);
  for (let t = 0; t < T; t += atOnce) {
    const [yPtr, xPtr] = [y.ptr + t * M * 4, input.ptr + t * K * 4];
    kernels[`linear_${dtype}`](yPtr, xPtr, packed.ptr, biasPtr, Math.min(atOnce, T - t), M, K, M);
  }
  operands.check();
  return y.f32();
}

/** The order of additions that the kernels promise, one f32 operation at a time. */
function chain({ T, K, M, x, weight, bias }: Call): Float32Array {
  const y = new Float32Array(T * M);
  for (let t = 0; t < T; t++) {
    for (let m = 0; m < M; m++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum = Math.fround(sum + Math.fround(weight[m * K + k]! * x[t * K + k]!));
      y[t * M + m] = sum + (bias?.[m] ?? 0);
    }
  }
  return y;
}

const small = sizes.filter((size) => size >= 1 && size <= 64);
const shapes = small.flatMap((K) => small.map((M): [number, number] => [K, M]));

describe.each(dtypes)("linear_%s", (dtype) => {
  it.each(tokenCounts)("multiplies %i tokens by matrices of all sizes", (T) => {
    for (const [K, M] of [...shapes, [2560, 17], [5, 2560]] as const) {
      for (const withBias of [true, false]) {
        const operands = call(T, K, M, dtype, withBias);
        const got = linear(operands, dtype, T);
        expectClose(`linear_${dtype}`, got, reference.linear(operands.x, operands.weight, operands.bias, { T, K, M }));
      }
    }
  });

  it("adds every product in order of k, then the bias, whatever the size and the number of tokens", () => {
    for (const [K, M] of [...shapes, [2560, 33]] as const) {
      const operands = call(7, K, M, dtype);
      const want = chain(operands);
      for (const atOnce of [1, 2, 3, 4, 5, 6, 7]) expectSameBits(linear(operands, dtype, atOnce), want);
    }
  });

  it("gates what it is told to with the bits of gelu_mul and silu_mul, in place or not", () => {
    for (const [K, M] of [...shapes, [2560, 33]] as const) {
      for (const T of [1, 3, 6]) {
        const { x, weight, bias } = call(T, K, M, dtype);
        const operands = new Operands();
        const packed = panels(operands, weight, M, K, dtype).ptr;
        const [xPtr, biasPtr] = [operands.input(x).ptr, operands.input(bias!).ptr];
        const other = random(T * M, 8);
        const [otherPtr, y] = [operands.input(other).ptr, operands.output(T * M)];
        const inPlace = [1, 2].map(() => operands.inOut(other));
        const apart = [1, 2].map(() => operands.output(T * M));
        for (const [i, gate] of (["gelu_mul", "silu_mul"] as const).entries()) {
          const [want, same] = [apart[i]!, inPlace[i]!];
          const run = (to: number, ...rest: number[]) =>
            kernels[`linear_${dtype}`](to, xPtr, packed, biasPtr, T, M, K, M, ...rest);
          run(want.ptr);
          kernels[gate](want.ptr, want.ptr, otherPtr, T * M);
          run(y.ptr, i + 1, otherPtr);
          run(same.ptr, i + 1, same.ptr);
          expectSameBits(y.f32(), want.f32());
          expectSameBits(same.f32(), want.f32());
        }
        operands.check();
      }
    }
  });

  it("gives a token the same bits alone and among 64", () => {
    for (const [K, M] of [...shapes, [2560, 100], [100, 2560]] as const) {
      const operands = call(64, K, M, dtype);
      expectSameBits(linear(operands, dtype, 64), linear(operands, dtype, 1));
    }
  });

  it("multiplies by a real layer's 2560 × 2560", () => {
    const K = 2560;
    const pattern = rounded(random(4099, 4, 1 / Math.sqrt(K)), dtype);
    const weight = new Float32Array(K * K);
    for (let i = 0; i < weight.length; i++) weight[i] = pattern[i % pattern.length]!;
    const operands = { ...call(1, K, 0, dtype), M: K, weight, bias: random(K, 5) };
    const want = reference.linear(operands.x, weight, operands.bias, { T: 1, K, M: K });
    expectClose(`linear_${dtype}`, linear(operands, dtype, 1), want);
  });

  it("reads nothing behind its tokens and weights, were they the last bytes of memory", () => {
    const { memory } = kernels;
    const K = 5;
    for (const [T, M] of [1, 2, 3, 5].flatMap((count) => [1, 9, 17, 33].map((rows) => [count, rows] as const))) {
      const operands = new Operands();
      const packed = panels(operands, rounded(random(M * K, 6), dtype), M, K, dtype);
      const input = operands.input(random(T * K, 7));
      const y = operands.output(T * M);
      const run = (xPtr: number, weightPtr: number) => {
        kernels[`linear_${dtype}`](y.ptr, xPtr, weightPtr, 0, T, M, K, M);
        return y.f32();
      };
      const want = run(input.ptr, packed.ptr);
      memory.grow(1); // so that the copies overwrite no operand
      const atEnd = ({ ptr, lengthBytes }: Operand) => {
        new Uint8Array(memory.buffer).copyWithin(memory.buffer.byteLength - lengthBytes, ptr, ptr + lengthBytes);
        return memory.buffer.byteLength - lengthBytes;
      };
      expectSameBits(run(atEnd(input), packed.ptr), want);
      expectSameBits(run(input.ptr, atEnd(packed)), want);
    }
  });

  it("does nothing for no tokens or no outputs", () => {
    for (const [T, M] of [
      [0, 8],
      [1, 0],
      [2, 0],
    ] as const) {
      expectSameBits(linear(call(T, 5, M, dtype), dtype, Math.max(T, 1)), new Float32Array(0));
    }
  });
});
