// y[t, m] = Σ_b (Σ_k∈b q[t, k] · w[m, k]) · (scale[m, b] · scale[t, b]) + bias[m], b ascending in one chain from 0
//
// Shapes     x [T, K] f32, w [M, K] int8 from −63 to 63 or int4 from −8 to 7, with scales [M, blocks] f32, in panels of
//            4 rows (quantized.ts), bias [M] f32 or pointer 0; y [T, M] f32, its rows `stride` elements apart;
//            scratch of `linear_q_scratch(T, K)` bytes; with an activation (panel.ts) y is a gate of `other`, which
//            lies as y does
// Alignment  none needed
// Aliasing   y may be other
// Tail       groups of four panels repeat their last one where fewer are left; outputs from M on are not stored
// Tolerance  3e-6 absolute for sums around 1: integers are exact, each product and each sum of blocks is rounded once
// Source     four streams of weights for one token, because memory is slower than arithmetic there; for many, a block of
//            weights stays in registers while all tokens pass it
import { add_block, add_held, block_dot, held_weights, LOW_NIBBLES, ONES } from "./block_dot";
import { BLOCK, block_bytes, blocks, offset_of, ROWS, weight_bytes, X_BYTES } from "./quantized";
import { store_outputs } from "./panel";
import { quantize_rows } from "./quantize_rows";

/** Multiplies every token by a matrix of int8; a token's bits do not depend on T. */
export function linear_i8(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  scratchPtr: usize,
  T: i32,
  M: i32,
  K: i32,
  stride: i32,
  activation: i32,
  otherPtr: usize,
): void {
  linear<i8>(yPtr, xPtr, weightPtr, biasPtr, scratchPtr, T, M, K, stride, activation, otherPtr - yPtr);
}

/** Multiplies every token by a matrix of int4; a token's bits do not depend on T. */
export function linear_i4(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  scratchPtr: usize,
  T: i32,
  M: i32,
  K: i32,
  stride: i32,
  activation: i32,
  otherPtr: usize,
): void {
  linear<u8>(yPtr, xPtr, weightPtr, biasPtr, scratchPtr, T, M, K, stride, activation, otherPtr - yPtr);
}

/** Bytes that T tokens need besides the operands: their activations, one more block, and four sums a token. */
export function linear_q_scratch(T: i32, K: i32): i32 {
  return T * (blocks(K) * X_BYTES + 16) + BLOCK * 4;
}

function linear<W>(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  scratchPtr: usize,
  T: i32,
  M: i32,
  K: i32,
  stride: i32,
  activation: i32,
  other: usize,
): void {
  const tailPtr = scratchPtr + <usize>(T * (blocks(K) * X_BYTES + 16));
  quantize_rows(scratchPtr, xPtr, tailPtr, T, K, offset_of<W>());
  if (T == 1) one_token<W>(yPtr, scratchPtr, weightPtr, biasPtr, M, blocks(K), activation, other);
  else many_tokens<W>(yPtr, scratchPtr, weightPtr, biasPtr, T, M, blocks(K), stride, activation, other);
}

/** Walks four panels side by side: the processor then prefetches four streams. */
// oxfmt-ignore
function one_token<W>(
  yPtr: usize, xPtr: usize, weightPtr: usize, biasPtr: usize, M: i32, count: i32, activation: i32, other: usize,
): void {
  const ones = v128.load(ONES);
  const low = v128.load(LOW_NIBBLES);
  const panelBytes = <usize>(count * block_bytes<W>());
  const lastPtr = weightPtr + panelBytes * <usize>((M - 1) / ROWS);
  const xEnd = xPtr + <usize>(count * X_BYTES);
  for (let m = 0; m < M; m += 4 * ROWS) {
    let w0 = weightPtr;
    let w1 = min(w0 + panelBytes, lastPtr);
    let w2 = min(w1 + panelBytes, lastPtr);
    let w3 = min(w2 + panelBytes, lastPtr);
    let sum0 = f32x4.splat(0);
    let sum1 = f32x4.splat(0);
    let sum2 = f32x4.splat(0);
    let sum3 = f32x4.splat(0);
    for (let x = xPtr; x < xEnd; x += X_BYTES) {
      const x0 = v128.load32_splat(x);
      const x1 = v128.load32_splat(x, 4);
      const x2 = v128.load32_splat(x, 8);
      const x3 = v128.load32_splat(x, 12);
      const x4 = v128.load32_splat(x, 16);
      const x5 = v128.load32_splat(x, 20);
      const x6 = v128.load32_splat(x, 24);
      const x7 = v128.load32_splat(x, 28);
      const scale = v128.load32_splat(x, 32);
      const offset = v128.load32_splat(x, 36);
      sum0 = add_block<W>(sum0, w0, block_dot<W>(w0, x0, x1, x2, x3, x4, x5, x6, x7, offset, ones, low), scale);
      sum1 = add_block<W>(sum1, w1, block_dot<W>(w1, x0, x1, x2, x3, x4, x5, x6, x7, offset, ones, low), scale);
      sum2 = add_block<W>(sum2, w2, block_dot<W>(w2, x0, x1, x2, x3, x4, x5, x6, x7, offset, ones, low), scale);
      sum3 = add_block<W>(sum3, w3, block_dot<W>(w3, x0, x1, x2, x3, x4, x5, x6, x7, offset, ones, low), scale);
      w0 += block_bytes<W>();
      w1 += block_bytes<W>();
      w2 += block_bytes<W>();
      w3 += block_bytes<W>();
    }
    store_rows(yPtr, biasPtr, m, M, sum0, activation, other);
    if (m + 4 < M) store_rows(yPtr, biasPtr, m + 4, M, sum1, activation, other);
    if (m + 8 < M) store_rows(yPtr, biasPtr, m + 8, M, sum2, activation, other);
    if (m + 12 < M) store_rows(yPtr, biasPtr, m + 12, M, sum3, activation, other);
    weightPtr += panelBytes << 2;
  }
}

/** Holds a block of one panel in registers while every token passes; sums wait in memory, which stays in cache. */
function many_tokens<W>(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  T: i32,
  M: i32,
  count: i32,
  stride: i32,
  activation: i32,
  other: usize,
): void {
  const ones = v128.load(ONES);
  const low = v128.load(LOW_NIBBLES);
  const yBytes = (<usize>stride) << 2;
  const sumPtr = xPtr + <usize>(count * T * X_BYTES);
  const sumEnd = sumPtr + ((<usize>T) << 4);
  for (let m = 0; m < M; m += ROWS) {
    memory.fill(sumPtr, 0, sumEnd - sumPtr);
    let x = xPtr;
    for (let b = 0; b < count; b++) {
      const w0 = held_weights<W>(weightPtr, 0, low);
      const w1 = held_weights<W>(weightPtr, 1, low);
      const w2 = held_weights<W>(weightPtr, 2, low);
      const w3 = held_weights<W>(weightPtr, 3, low);
      const w4 = held_weights<W>(weightPtr, 4, low);
      const w5 = held_weights<W>(weightPtr, 5, low);
      const w6 = held_weights<W>(weightPtr, 6, low);
      const w7 = held_weights<W>(weightPtr, 7, low);
      const scales = v128.load(weightPtr, weight_bytes<W>());
      // Four tokens a step: what a loop itself costs is a tenth of one.
      let sum = sumPtr;
      for (; sum + 48 < sumEnd; sum += 64) {
        add_held<W>(sum, x, w0, w1, w2, w3, w4, w5, w6, w7, ones, scales);
        add_held<W>(sum + 16, x + X_BYTES, w0, w1, w2, w3, w4, w5, w6, w7, ones, scales);
        add_held<W>(sum + 32, x + 2 * X_BYTES, w0, w1, w2, w3, w4, w5, w6, w7, ones, scales);
        add_held<W>(sum + 48, x + 3 * X_BYTES, w0, w1, w2, w3, w4, w5, w6, w7, ones, scales);
        x += 4 * X_BYTES;
      }
      for (; sum < sumEnd; sum += 16) {
        add_held<W>(sum, x, w0, w1, w2, w3, w4, w5, w6, w7, ones, scales);
        x += X_BYTES;
      }
      weightPtr += block_bytes<W>();
    }
    let y = yPtr;
    for (let sum = sumPtr; sum < sumEnd; sum += 16) {
      store_rows(y, biasPtr, m, M, v128.load(sum), activation, other);
      y += yBytes;
    }
  }
}

/** Stores outputs m … m + 3 of one token, those below M. */
// oxfmt-ignore
function store_rows(
  yPtr: usize, biasPtr: usize, m: i32, M: i32, sums: v128, activation: i32, other: usize,
): void {
  const offset = (<usize>m) << 2;
  store_outputs(yPtr + offset, biasPtr ? biasPtr + offset : 0, M - m, sums, activation, other);
}
