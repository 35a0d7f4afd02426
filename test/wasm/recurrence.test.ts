// The fused step, bit for bit as the kernels one after another.
import { describe, it } from "vitest";
import { expectSameBits, kernels, Operands, random, tokenCounts } from "./harness.ts";

/** Both ways over chunks of tokens: y, and both states. */
function run(isFused: boolean, chunks: readonly number[], blocks: number, blockSize: number, start: number) {
  const R = blocks * blockSize;
  const T = chunks.reduce((sum, count) => sum + count, 0);
  const operands = new Operands();
  const input = (count: number, seed: number, scale = 1) => operands.input(random(count, seed, scale)).ptr;
  const x = input(T * R, 1);
  const conv = [input(4 * R, 2), input(R, 3)];
  const gates = [input(R * blockSize, 4), input(R, 5), input(R * blockSize, 6), input(R, 7)];
  const a = input(R, 8, 8);
  const pos = operands.input(Int32Array.from({ length: T }, (_, t) => start + t)).ptr;
  const [convState, state] = [operands.inOut(random(3 * R, 9)), operands.inOut(random(R, 10))];
  const [c, i, r] = Array.from({ length: 3 }, () => operands.inOut(new Float32Array(3 * T * R)).ptr);
  const y = operands.output(T * R);
  let done = 0;
  for (const count of chunks) {
    const [yPtr, xPtr, posPtr] = [y.ptr + done * R * 4, x + done * R * 4, pos + done * 4];
    if (isFused) {
      const weights = [...conv, convState.ptr, ...gates, a, posPtr, state.ptr];
      kernels.recurrence(yPtr, xPtr, ...weights, c!, count, blocks, blockSize);
    } else {
      kernels.causal_conv1d(c!, xPtr, ...conv, convState.ptr, count, R);
      kernels.block_diagonal(i!, c!, gates[0]!, gates[1]!, count, blocks, blockSize);
      kernels.block_diagonal(r!, c!, gates[2]!, gates[3]!, count, blocks, blockSize);
      kernels.rg_lru(yPtr, c!, i!, r!, a, posPtr, state.ptr, count, R);
    }
    done += count;
  }
  operands.check();
  return [y.f32(), convState.f32(), state.f32()];
}

describe("recurrence", () => {
  it.each(tokenCounts)("has the bits of its functions one after another over %i tokens", (T) => {
    for (const [blocks, blockSize] of [
      [1, 1],
      [3, 5],
      [2, 32],
      [1, 36],
      [4, 48],
    ] as const) {
      for (const start of [0, 7]) {
        for (const chunks of [[T], [1, T]]) {
          const [fused, apart] = [true, false].map((isFused) => run(isFused, chunks, blocks, blockSize, start));
          fused!.forEach((values, k) => expectSameBits(values, apart![k]!));
        }
      }
    }
  });
});
