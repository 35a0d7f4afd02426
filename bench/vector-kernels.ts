// The kernels beside the matrices, on one token of RecurrentGemma-2B. What they read and write lies in a cache, so they
// are shown as shares of reading that; most are bound by exponentials instead. Attention is bound by its products.
import { largeConfig } from "./models.ts";
import type { Case, Workbench } from "./kernels.ts";

const { width, lruWidth, mlpWidth, numHeads, numKvHeads, headDim, window, rotaryDim, ropeTheta, vocabSize } =
  largeConfig;
const epsilon = 1e-6;
const cap = 30;

export function vectorCases({ kernels, operand }: Workbench): Case[] {
  const [y, x, gate, other] = [operand(vocabSize), operand(vocabSize), operand(mlpWidth), operand(lruWidth)];
  const weight = operand(4 * lruWidth);
  const state = operand(3 * lruWidth);
  const pos = operand(1);
  new Int32Array(kernels.memory.buffer, pos, 1)[0] = window;
  const ringLength = window + 32;
  const [keys, values] = [operand(ringLength * headDim), operand(ringLength * headDim)];
  const scratch = operand(kernels.local_attention_scratch(numHeads, headDim, window, rotaryDim));
  const attention = [y, x, gate, other, pos, keys, values, scratch, 1, numHeads, numKvHeads, headDim];
  attention.push(window, ringLength, rotaryDim, ropeTheta);
  return [
    moving("rms_norm", 3 * width, () => kernels.rms_norm(y, x, weight, 1, width, epsilon)),
    moving("rg_lru", 7 * lruWidth, () => kernels.rg_lru(y, x, gate, other, weight, pos, state, 1, lruWidth)),
    moving("causal_conv1d", 13 * lruWidth, () => kernels.causal_conv1d(y, x, weight, other, state, 1, lruWidth)),
    moving("gelu_mul", 3 * width, () => kernels.gelu_mul(y, gate, x, width)),
    moving(`soft_cap, ${vocabSize} logits`, 2 * vocabSize, () => kernels.soft_cap(y, x, vocabSize, cap)),
    {
      name: `local_attention, ${window} keys, ${numHeads} heads of ${headDim}`,
      unit: "µs",
      work: 2 * numHeads * headDim * window,
      call: () => kernels.local_attention_f32(...attention),
      ceilings: ["mul_add"],
    },
  ];
}

/** A case that reads and writes `floats` f32. */
const moving = (name: string, floats: number, call: () => void): Case => ({
  name,
  unit: "µs",
  work: 4 * floats,
  call,
  ceilings: ["read cache"],
});
