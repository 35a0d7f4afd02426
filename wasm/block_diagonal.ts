// y[t, b, o] = Σ_i x[t, b, i] · w[b, i, o] + bias[b, o], i ascending in one chain from 0, the bias last
//
// Shapes     x, y [T, B · S], weight [B, S in, S out], bias [B, S] f32
// Alignment  none needed
// Aliasing   none
// Tail       columns go 32 at a time, then 4, the last vector padded
// Tolerance  2e-6 absolute for sums around 1: each product and each sum is rounded once
// Source     recurrentgemma, layers.py: BlockDiagonalLinear
import { load_lanes, mul_add, store_lanes } from "./simd";

/** Multiplies every block of every token by that block's own matrix. */
export function block_diagonal(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  T: i32,
  blocks: i32,
  blockSize: i32,
): void {
  const blockBytes = (<usize>blockSize) << 2;
  const rowBytes = blockBytes * <usize>blocks;
  for (let b = 0; b < blocks; b++) {
    let o = 0;
    for (; o + 32 <= blockSize; o += 32) {
      const offset = (<usize>o) << 2;
      for (let t = 0; t < T; t++) {
        const row = <usize>t * rowBytes;
        columns32(yPtr + row + offset, xPtr + row, weightPtr + offset, biasPtr + offset, blockBytes);
      }
    }
    for (; o < blockSize; o += 4) {
      const offset = (<usize>o) << 2;
      for (let t = 0; t < T; t++) {
        const row = <usize>t * rowBytes;
        columns4(yPtr + row + offset, xPtr + row, weightPtr + offset, biasPtr + offset, blockBytes, blockSize - o);
      }
    }
    xPtr += blockBytes;
    yPtr += blockBytes;
    biasPtr += blockBytes;
    weightPtr += blockBytes * <usize>blockSize;
  }
}

/** 32 outputs of one token: the strip of weights they need stays in the first cache for the next token. */
function columns32(yPtr: usize, xPtr: usize, weightPtr: usize, biasPtr: usize, blockBytes: usize): void {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  let sum4 = f32x4.splat(0);
  let sum5 = f32x4.splat(0);
  let sum6 = f32x4.splat(0);
  let sum7 = f32x4.splat(0);
  const xEnd = xPtr + blockBytes;
  for (let x = xPtr; x < xEnd; x += 4) {
    const xi = v128.load32_splat(x);
    sum0 = mul_add(sum0, v128.load(weightPtr), xi);
    sum1 = mul_add(sum1, v128.load(weightPtr, 16), xi);
    sum2 = mul_add(sum2, v128.load(weightPtr, 32), xi);
    sum3 = mul_add(sum3, v128.load(weightPtr, 48), xi);
    sum4 = mul_add(sum4, v128.load(weightPtr, 64), xi);
    sum5 = mul_add(sum5, v128.load(weightPtr, 80), xi);
    sum6 = mul_add(sum6, v128.load(weightPtr, 96), xi);
    sum7 = mul_add(sum7, v128.load(weightPtr, 112), xi);
    weightPtr += blockBytes;
  }
  v128.store(yPtr, f32x4.add(sum0, v128.load(biasPtr)));
  v128.store(yPtr, f32x4.add(sum1, v128.load(biasPtr, 16)), 16);
  v128.store(yPtr, f32x4.add(sum2, v128.load(biasPtr, 32)), 32);
  v128.store(yPtr, f32x4.add(sum3, v128.load(biasPtr, 48)), 48);
  v128.store(yPtr, f32x4.add(sum4, v128.load(biasPtr, 64)), 64);
  v128.store(yPtr, f32x4.add(sum5, v128.load(biasPtr, 80)), 80);
  v128.store(yPtr, f32x4.add(sum6, v128.load(biasPtr, 96)), 96);
  v128.store(yPtr, f32x4.add(sum7, v128.load(biasPtr, 112)), 112);
}

/** Up to four outputs of one token. */
function columns4(yPtr: usize, xPtr: usize, weightPtr: usize, biasPtr: usize, blockBytes: usize, count: i32): void {
  let sum = f32x4.splat(0);
  const xEnd = xPtr + blockBytes;
  for (let x = xPtr; x < xEnd; x += 4) {
    sum = mul_add(sum, load_lanes(weightPtr, count), v128.load32_splat(x));
    weightPtr += blockBytes;
  }
  store_lanes(yPtr, f32x4.add(sum, load_lanes(biasPtr, count)), count);
}
