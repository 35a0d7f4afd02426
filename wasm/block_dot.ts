// Inline helpers of linear_q: the dot product of a block, activations of int8 with weights of at most 7 bits, 0 … 127.
// It is exact in integers, so both builds of the module and every processor give the same bits. The relaxed build takes
// one instruction where the other takes five; with the second operand below 128 it has one meaning everywhere.
// https://github.com/WebAssembly/relaxed-simd/blob/main/proposals/relaxed-simd/Overview.md
import { weight_bytes } from "./quantized";
import { mul_add } from "./simd";

/** i16x8: lane i = x[2i] · w[2i] + x[2i + 1] · w[2i + 1]. x is signed, w from 0 to 127. */
// @ts-ignore: decorator
@inline
function dot_pairs(x: v128, w: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(x, w);
  return i16x8.narrow_i32x4_s(
    i32x4.extadd_pairwise_i16x8_s(i16x8.extmul_low_i8x16_s(x, w)),
    i32x4.extadd_pairwise_i16x8_s(i16x8.extmul_high_i8x16_s(x, w)),
  );
}

/** i32x4: lane i = sum[i] + the dot product of the four bytes there. `ones` are those of `ONES`. */
// @ts-ignore: decorator
@inline
function dot_quads(sum: v128, x: v128, w: v128, ones: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, sum);
  return i32x4.add(sum, i32x4.dot_i16x8_s(dot_pairs(x, w), ones));
}

/** Eight 1 of i16; i32x4.dot_i16x8_s with them adds neighbours. In memory, because V8 builds constants anew. */
export const ONES = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1]);
/** Keeps the low nibble of every byte. */
export const LOW_NIBBLES = memory.data<u8>([15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15]);

/** sum + the block at w: the one step of every chain. */
// @ts-ignore: decorator
@inline
export function add_block<W>(sum: v128, w: usize, dot: v128, scale: v128): v128 {
  return mul_add(sum, f32x4.convert_i32x4_s(dot), f32x4.mul(v128.load(w, weight_bytes<W>()), scale));
}

/** Weights of k = 4i … 4i + 3 of the block at w, four rows. */
// @ts-ignore: decorator
@inline
export function held_weights<W>(w: usize, i: usize, low: v128): v128 {
  if (isSigned<W>()) return v128.load(w + (i << 4));
  const both = v128.load(w + ((i & 3) << 4));
  return v128.and(i < 4 ? both : i16x8.shr_u(both, 4), low);
}

/** offset + the integers of the block at w with activations held in registers. Pairs of int4 are summed in i16, where
 *  8 · 2 · 15 · 127 fits. */
// @ts-ignore: decorator
@inline
export function block_dot<W>(
  w: usize,
  x0: v128,
  x1: v128,
  x2: v128,
  x3: v128,
  x4: v128,
  x5: v128,
  x6: v128,
  x7: v128,
  offset: v128,
  ones: v128,
  low: v128,
): v128 {
  if (isSigned<W>()) {
    let sum = dot_quads(offset, x0, v128.load(w), ones);
    sum = dot_quads(sum, x1, v128.load(w, 16), ones);
    sum = dot_quads(sum, x2, v128.load(w, 32), ones);
    sum = dot_quads(sum, x3, v128.load(w, 48), ones);
    sum = dot_quads(sum, x4, v128.load(w, 64), ones);
    sum = dot_quads(sum, x5, v128.load(w, 80), ones);
    sum = dot_quads(sum, x6, v128.load(w, 96), ones);
    return dot_quads(sum, x7, v128.load(w, 112), ones);
  }
  let sum = both_halves(v128.load(w), x0, x4, low);
  sum = i16x8.add(sum, both_halves(v128.load(w, 16), x1, x5, low));
  sum = i16x8.add(sum, both_halves(v128.load(w, 32), x2, x6, low));
  sum = i16x8.add(sum, both_halves(v128.load(w, 48), x3, x7, low));
  return i32x4.add(offset, i32x4.dot_i16x8_s(sum, ones));
}

// @ts-ignore: decorator
@inline
function both_halves(both: v128, xLow: v128, xHigh: v128, low: v128): v128 {
  return i16x8.add(dot_pairs(xLow, v128.and(both, low)), dot_pairs(xHigh, v128.and(i16x8.shr_u(both, 4), low)));
}

/** offset + the integers of the activations at x with a block of weights held in registers. */
// @ts-ignore: decorator
@inline
export function held_dot<W>(
  x: usize,
  w0: v128,
  w1: v128,
  w2: v128,
  w3: v128,
  w4: v128,
  w5: v128,
  w6: v128,
  w7: v128,
  ones: v128,
): v128 {
  const offset = v128.load32_splat(x, 36);
  if (isSigned<W>()) {
    let sum = dot_quads(offset, v128.load32_splat(x), w0, ones);
    sum = dot_quads(sum, v128.load32_splat(x, 4), w1, ones);
    sum = dot_quads(sum, v128.load32_splat(x, 8), w2, ones);
    sum = dot_quads(sum, v128.load32_splat(x, 12), w3, ones);
    sum = dot_quads(sum, v128.load32_splat(x, 16), w4, ones);
    sum = dot_quads(sum, v128.load32_splat(x, 20), w5, ones);
    sum = dot_quads(sum, v128.load32_splat(x, 24), w6, ones);
    return dot_quads(sum, v128.load32_splat(x, 28), w7, ones);
  }
  let even = i16x8.add(dot_pairs(v128.load32_splat(x), w0), dot_pairs(v128.load32_splat(x, 4), w1));
  let odd = i16x8.add(dot_pairs(v128.load32_splat(x, 8), w2), dot_pairs(v128.load32_splat(x, 12), w3));
  even = i16x8.add(even, dot_pairs(v128.load32_splat(x, 16), w4));
  odd = i16x8.add(odd, dot_pairs(v128.load32_splat(x, 20), w5));
  even = i16x8.add(even, dot_pairs(v128.load32_splat(x, 24), w6));
  odd = i16x8.add(odd, dot_pairs(v128.load32_splat(x, 28), w7));
  return i32x4.add(offset, i32x4.dot_i16x8_s(i16x8.add(even, odd), ones));
}

/** Adds the block of weights held in registers, times the activations at x, to the four sums of a token at `sum`. */
// @ts-ignore: decorator
@inline
export function add_held<W>(
  sum: usize,
  x: usize,
  w0: v128,
  w1: v128,
  w2: v128,
  w3: v128,
  w4: v128,
  w5: v128,
  w6: v128,
  w7: v128,
  ones: v128,
  scales: v128,
): void {
  const dot = held_dot<W>(x, w0, w1, w2, w3, w4, w5, w6, w7, ones);
  const scale = f32x4.mul(scales, v128.load32_splat(x, 32));
  v128.store(sum, mul_add(v128.load(sum), f32x4.convert_i32x4_s(dot), scale));
}
