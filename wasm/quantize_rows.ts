// scale = max |x| / 127, q = round(x · 127 / max |x|), half to even, in every block of 32 of a row
//
// Shapes     x [T, K] f32; q [blocks][T][48 bytes] (quantized.ts); tail: room for one block of f32
// Alignment  none needed
// Aliasing   none
// Tail       a block beyond K is filled up with zeros
// Tolerance  exact: the function is defined by these roundings, as its ONNX body has them
// Source     dynamic quantisation as in ggml's quantize_row_q8_0
import { BLOCK, blocks, X_BYTES } from "./quantized";
import { load_lanes } from "./simd";

/** Below this a block is zero: 127 / max would not be finite. */
const SMALLEST: f32 = 1e-36;

/** Rounds rows to int8; `offset` is that of the panels they will meet. */
export function quantize_rows(qPtr: usize, xPtr: usize, tailPtr: usize, T: i32, K: i32, offset: i32): void {
  const count = blocks(K);
  for (let t = 0; t < T; t++) {
    for (let b = 0; b < count; b++) {
      const x = xPtr + ((<usize>(t * K + b * BLOCK)) << 2);
      const q = qPtr + <usize>(b * T + t) * X_BYTES;
      const left = K - b * BLOCK;
      if (left >= BLOCK) quantize_block(q, x, offset);
      else quantize_tail(q, x, tailPtr, left, offset);
    }
  }
}

function quantize_block(q: usize, x: usize, offset: i32): void {
  const x0 = v128.load(x);
  const x1 = v128.load(x, 16);
  const x2 = v128.load(x, 32);
  const x3 = v128.load(x, 48);
  const x4 = v128.load(x, 64);
  const x5 = v128.load(x, 80);
  const x6 = v128.load(x, 96);
  const x7 = v128.load(x, 112);
  const max = max_abs(
    i32x4.max_u(
      i32x4.max_u(i32x4.max_u(f32x4.abs(x0), f32x4.abs(x1)), i32x4.max_u(f32x4.abs(x2), f32x4.abs(x3))),
      i32x4.max_u(i32x4.max_u(f32x4.abs(x4), f32x4.abs(x5)), i32x4.max_u(f32x4.abs(x6), f32x4.abs(x7))),
    ),
  );
  const factor = f32x4.splat(max < SMALLEST ? 0 : <f32>127 / max);
  const low = i8x16.narrow_i16x8_s(pair(x0, x1, factor), pair(x2, x3, factor));
  const high = i8x16.narrow_i16x8_s(pair(x4, x5, factor), pair(x6, x7, factor));
  v128.store(q, low);
  v128.store(q, high, 16);
  store<f32>(q, max / <f32>127, 32);
  store<i32>(q, -offset * (sum_bytes(low) + sum_bytes(high)), 36);
}

/** The last block of a row, copied to where zeros can follow it. */
function quantize_tail(q: usize, x: usize, tailPtr: usize, left: i32, offset: i32): void {
  for (let i = 0; i < BLOCK; i += 4) {
    const lanes = i < left ? load_lanes(x + ((<usize>i) << 2), left - i) : f32x4.splat(0);
    v128.store(tailPtr + ((<usize>i) << 2), lanes);
  }
  quantize_block(q, tailPtr, offset);
}

/** Eight values as i16. NaN becomes 0; the scale, then NaN too, tells. */
function pair(a: v128, b: v128, factor: v128): v128 {
  return i16x8.narrow_i32x4_s(
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(a, factor))),
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(b, factor))),
  );
}

/** The largest lane of values without sign. As integers they have the same order, and NaN is above all: one instruction. */
function max_abs(v: v128): f32 {
  const pairs = i32x4.max_u(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(i32x4.max_u(pairs, v128.shuffle<i32>(pairs, pairs, 1, 0, 3, 2)), 0);
}

function sum_bytes(v: v128): i32 {
  let sum = i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(v));
  sum = i32x4.add(sum, v128.shuffle<i32>(sum, sum, 2, 3, 0, 1));
  return i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1);
}
