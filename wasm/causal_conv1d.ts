// y_t = w0 · x_{t−3} + w1 · x_{t−2} + w2 · x_{t−1} + w3 · x_t + bias, channel by channel; added from the left
// state  = the last three x, oldest first: read as x_{−3} … x_{−1}, then replaced
//
// Shapes     y, x [T, R], weight [4, R], bias [R], state [3, R], all f32; weight row 3 is the tap of the current token
// Alignment  none needed
// Aliasing   none
// Tail       padded vector
// Tolerance  1e-6 for operands of magnitude 1; the same bits however T is split
// Source     Griffin (arXiv 2402.19427), section 2.3; Conv1D of recurrentgemma
import { load_lanes, mul_add, store_lanes } from "./simd";

/** Convolves T tokens of R channels and moves the state on by T tokens. */
export function causal_conv1d(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  statePtr: usize,
  T: i32,
  R: i32,
): void {
  const rowBytes = usize(R) << 2;
  convolve(yPtr, xPtr, weightPtr, biasPtr, statePtr, T, R, rowBytes, rowBytes);
}

/** The same for some channels of a wider row: rows of y lie `yBytes` apart, all others `rowBytes`. */
export function convolve(
  yPtr: usize,
  xPtr: usize,
  weightPtr: usize,
  biasPtr: usize,
  statePtr: usize,
  T: i32,
  channels: i32,
  yBytes: usize,
  rowBytes: usize,
): void {
  for (let channel = 0; channel < channels; channel += 4) {
    const left = channels - channel;
    const offset = usize(channel) << 2;
    const tap = weightPtr + offset;
    const w0 = load_lanes(tap, left);
    const w1 = load_lanes(tap + rowBytes, left);
    const w2 = load_lanes(tap + rowBytes * 2, left);
    const w3 = load_lanes(tap + rowBytes * 3, left);
    const bias = load_lanes(biasPtr + offset, left);

    const past = statePtr + offset;
    let x0 = load_lanes(past, left);
    let x1 = load_lanes(past + rowBytes, left);
    let x2 = load_lanes(past + rowBytes * 2, left);

    let xRow = xPtr + offset;
    let yRow = yPtr + offset;
    for (let t = 0; t < T; t++) {
      const x3 = load_lanes(xRow, left);
      let y = f32x4.mul(w0, x0);
      y = mul_add(y, w1, x1);
      y = mul_add(y, w2, x2);
      y = mul_add(y, w3, x3);
      store_lanes(yRow, f32x4.add(y, bias), left);
      xRow += rowBytes;
      yRow += yBytes;
      x0 = x1;
      x1 = x2;
      x2 = x3;
    }

    store_lanes(past, x0, left);
    store_lanes(past + rowBytes, x1, left);
    store_lanes(past + rowBytes * 2, x2, left);
  }
}
