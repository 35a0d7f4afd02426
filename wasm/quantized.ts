// How quantised matrices and the activations that meet them lie in memory. A block is 32 consecutive k.
//
// Activations   [block][token][48 bytes]: 32 int8 · scale f32 · −offset · Σ int8, as i32 · 8 unused, so that blocks stay
//               aligned. The offset is what panels add to their values, so that none is below zero.
// Panels        4 rows of a matrix, [block][weights of 4 rows · 4 scales f32]: the lane of a vector is a row, so no sum
//               runs across lanes, and one pointer walks weights and scales.
//               int8: [8][row][4], k = 4i + j, value + 64.
//               int4: [4][row][4], k = 4i + j in the low nibble, k = 16 + 4i + j in the high one, value + 8
// Source        the blocks of ggml's Q8_0 and Q4_0, with rows interleaved as in its repacking for CPUs
//
// In type parameters i8 stands for int8 and u8 for int4.

/** Consecutive k that share a scale. */
export const BLOCK: i32 = 32;
/** Bytes of one token's block of activations. */
export const X_BYTES: i32 = 48;
/** Rows of a panel. */
export const ROWS: i32 = 4;

/** Bytes of a block's weights of four rows; their scales follow. */
// @ts-ignore: decorator
@inline
export function weight_bytes<T>(): i32 {
  return isSigned<T>() ? 128 : 64;
}

/** Bytes of a block of four rows. */
// @ts-ignore: decorator
@inline
export function block_bytes<T>(): i32 {
  return weight_bytes<T>() + 16;
}

/** What is added to a weight. */
// @ts-ignore: decorator
@inline
export function offset_of<T>(): i32 {
  return isSigned<T>() ? 64 : 8;
}

/** Blocks of a row of K, the last one filled up with zeros. */
// @ts-ignore: decorator
@inline
export function blocks(K: i32): i32 {
  return (K + BLOCK - 1) >> 5;
}
