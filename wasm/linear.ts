// y[t, m] = Σ_k x[t, k] · w[m, k] + bias[m], k ascending in one chain from 0, the bias last
//
// Shapes     x [T, K] f32, w [M, K] f32 or bf16 in panels of 8 rows (pack.ts), bias [M] f32 or pointer 0; y [T, M] f32,
//            its rows `stride` elements apart, so that a matrix can be computed in shares of whole panels;
//            with an activation (panel.ts) y is a gate of `other`, which lies as y does
// Alignment  none needed
// Aliasing   y may be other
// Tail       groups of four panels or four tokens repeat their last one where fewer are left, and store it once;
//            outputs from M on are not stored
// Tolerance  3e-6 absolute for sums around 1: each product and each sum is rounded once; bf16 → f32 is exact
// Source     four streams of weights for one token, because memory is slower than arithmetic there; 4 × 8 sums in
//            registers for many, after Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008)
//
// In type parameters u16 stands for bf16.
import { store_panel } from "./panel";
import { HIGH_HALVES, mul_add, rows_0_3, rows_4_7 } from "./simd";

/** Multiplies every token by a matrix of f32; a token's bits do not depend on T. */
export function linear_f32(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  T: i32,
  M: i32,
  K: i32,
  stride: i32,
  activation: i32,
  otherPtr: usize,
): void {
  if (T == 1) one_token<f32>(yPtr, xPtr, weightPtr, biasPtr, M, K, activation, otherPtr - yPtr);
  else many_tokens<f32>(yPtr, xPtr, weightPtr, biasPtr, T, M, K, stride, activation, otherPtr - yPtr);
}

/** Multiplies every token by a matrix of bf16; a token's bits do not depend on T. */
export function linear_bf16(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  T: i32,
  M: i32,
  K: i32,
  stride: i32,
  activation: i32,
  otherPtr: usize,
): void {
  if (T == 1) one_token<u16>(yPtr, xPtr, weightPtr, biasPtr, M, K, activation, otherPtr - yPtr);
  else many_tokens<u16>(yPtr, xPtr, weightPtr, biasPtr, T, M, K, stride, activation, otherPtr - yPtr);
}

/** Walks four panels side by side: the processor then prefetches four streams. */
// oxfmt-ignore
function one_token<W>(
  yPtr: usize, xPtr: usize, weightPtr: usize, biasPtr: usize, M: i32, K: i32, activation: i32, other: usize,
): void {
  const mask = v128.load(HIGH_HALVES);
  const panelBytes = <usize>K * sizeof<W>() * 8;
  const lastPtr = weightPtr + panelBytes * <usize>((M - 1) >> 3);
  const xEnd = xPtr + ((<usize>K) << 2);
  for (let m = 0; m < M; m += 32) {
    let w0 = weightPtr;
    let w1 = min(w0 + panelBytes, lastPtr);
    let w2 = min(w1 + panelBytes, lastPtr);
    let w3 = min(w2 + panelBytes, lastPtr);
    let low0 = f32x4.splat(0);
    let high0 = f32x4.splat(0);
    let low1 = f32x4.splat(0);
    let high1 = f32x4.splat(0);
    let low2 = f32x4.splat(0);
    let high2 = f32x4.splat(0);
    let low3 = f32x4.splat(0);
    let high3 = f32x4.splat(0);
    for (let x = xPtr; x < xEnd; x += 4) {
      const xk = v128.load32_splat(x);
      const first0 = v128.load(w0);
      low0 = mul_add(low0, rows_0_3<W>(first0), xk);
      high0 = mul_add(high0, rows_4_7<W>(first0, w0, mask), xk);
      const first1 = v128.load(w1);
      low1 = mul_add(low1, rows_0_3<W>(first1), xk);
      high1 = mul_add(high1, rows_4_7<W>(first1, w1, mask), xk);
      const first2 = v128.load(w2);
      low2 = mul_add(low2, rows_0_3<W>(first2), xk);
      high2 = mul_add(high2, rows_4_7<W>(first2, w2, mask), xk);
      const first3 = v128.load(w3);
      low3 = mul_add(low3, rows_0_3<W>(first3), xk);
      high3 = mul_add(high3, rows_4_7<W>(first3, w3, mask), xk);
      w0 += sizeof<W>() * 8;
      w1 += sizeof<W>() * 8;
      w2 += sizeof<W>() * 8;
      w3 += sizeof<W>() * 8;
    }
    store_panel(yPtr, biasPtr, m, M, low0, high0, activation, other);
    if (m + 8 < M) store_panel(yPtr, biasPtr, m + 8, M, low1, high1, activation, other);
    if (m + 16 < M) store_panel(yPtr, biasPtr, m + 16, M, low2, high2, activation, other);
    if (m + 24 < M) store_panel(yPtr, biasPtr, m + 24, M, low3, high3, activation, other);
    weightPtr += panelBytes << 2;
  }
}

/** Walks one panel for four tokens at a time: it is read from memory once and stays in cache. */
function many_tokens<W>(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  T: i32,
  M: i32,
  K: i32,
  stride: i32,
  activation: i32,
  other: usize,
): void {
  const mask = v128.load(HIGH_HALVES);
  const xBytes = (<usize>K) << 2;
  const yBytes = (<usize>stride) << 2;
  const panelBytes = <usize>K * sizeof<W>() * 8;
  for (let m = 0; m < M; m += 8) {
    const panelEnd = weightPtr + panelBytes;
    for (let t = 0; t < T; t += 4) {
      const tokens = T - t;
      let x0 = xPtr + <usize>t * xBytes;
      let x1 = tokens > 1 ? x0 + xBytes : x0;
      let x2 = tokens > 2 ? x1 + xBytes : x1;
      let x3 = tokens > 3 ? x2 + xBytes : x2;
      let low0 = f32x4.splat(0);
      let high0 = f32x4.splat(0);
      let low1 = f32x4.splat(0);
      let high1 = f32x4.splat(0);
      let low2 = f32x4.splat(0);
      let high2 = f32x4.splat(0);
      let low3 = f32x4.splat(0);
      let high3 = f32x4.splat(0);
      for (let w = weightPtr; w < panelEnd; w += sizeof<W>() * 8) {
        const first = v128.load(w);
        const low = rows_0_3<W>(first);
        const high = rows_4_7<W>(first, w, mask);
        let xk: v128;
        xk = v128.load32_splat(x0);
        low0 = mul_add(low0, low, xk);
        high0 = mul_add(high0, high, xk);
        xk = v128.load32_splat(x1);
        low1 = mul_add(low1, low, xk);
        high1 = mul_add(high1, high, xk);
        xk = v128.load32_splat(x2);
        low2 = mul_add(low2, low, xk);
        high2 = mul_add(high2, high, xk);
        xk = v128.load32_splat(x3);
        low3 = mul_add(low3, low, xk);
        high3 = mul_add(high3, high, xk);
        x0 += 4;
        x1 += 4;
        x2 += 4;
        x3 += 4;
      }
      const y = yPtr + <usize>t * yBytes;
      store_panel(y, biasPtr, m, M, low0, high0, activation, other);
      if (tokens > 1) store_panel(y + yBytes, biasPtr, m, M, low1, high1, activation, other);
      if (tokens > 2) store_panel(y + yBytes * 2, biasPtr, m, M, low2, high2, activation, other);
      if (tokens > 3) store_panel(y + yBytes * 3, biasPtr, m, M, low3, high3, activation, other);
    }
    weightPtr = panelEnd;
  }
}
