// i = σ(input_gate)   r = σ(recurrent_gate)
// log a = (−8 · r) · softplus(a_param)   a = exp(log a)   m = √(1 − exp(2 · log a)), a² rounded to f32 before the difference
// h_t = a · h_{t−1} + m · (i · x), rounded as the brackets say; at position 0: a = 0 and m = 1
//
// Shapes     y, x, input_gate, recurrent_gate [T, R], a_param, state [R], all f32; pos [T] i32; y_t = h_t, state = h
// Alignment  none needed
// Aliasing   none
// Tail       padded vector
// Tolerance  1e-6 relative + 4e-6 after 64 tokens of |x| ≤ 1; the same bits however T is split
// Source     Griffin (arXiv 2402.19427), section 2.4, equations 1–4; RGLRU of recurrentgemma, which rounds a² like this:
//            models are trained with it, and where a ≈ 1 an exact √(1 − a²) moves the logits by more than all else
import { exp, sigmoid, softplus } from "./math";
import { load_lanes, store_lanes } from "./simd";

/** c of the paper, negated. */
const MINUS_C: f32 = -8;

/** Runs the recurrence over T tokens of R channels; h stays in a register from token to token. */
export function rg_lru(
  yPtr: usize,
  xPtr: usize,
  inputGatePtr: usize,
  recurrentGatePtr: usize,
  aParamPtr: usize,
  posPtr: usize,
  statePtr: usize,
  T: i32,
  R: i32,
): void {
  const rowBytes = usize(R) << 2;
  recur(yPtr, xPtr, inputGatePtr, recurrentGatePtr, aParamPtr, posPtr, statePtr, T, R, rowBytes, rowBytes);
}

/** The same for some channels of a wider row: rows of y lie `yBytes` apart, those of x and of the gates `xBytes`. */
export function recur(
  yPtr: usize,
  xPtr: usize,
  inputGatePtr: usize,
  recurrentGatePtr: usize,
  aParamPtr: usize,
  posPtr: usize,
  statePtr: usize,
  T: i32,
  channels: i32,
  yBytes: usize,
  xBytes: usize,
): void {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const minusC = f32x4.splat(MINUS_C);
  for (let channel = 0; channel < channels; channel += 4) {
    const left = channels - channel;
    const offset = usize(channel) << 2;
    const decay = softplus(load_lanes(aParamPtr + offset, left));
    let h = load_lanes(statePtr + offset, left);

    let row = offset;
    let yRow = yPtr + offset;
    for (let t = 0; t < T; t++, row += xBytes) {
      const input = f32x4.mul(sigmoid(load_lanes(inputGatePtr + row, left)), load_lanes(xPtr + row, left));
      const r = sigmoid(load_lanes(recurrentGatePtr + row, left));
      const logA = f32x4.mul(f32x4.mul(minusC, r), decay);
      let a = exp(logA);
      let m = f32x4.sqrt(f32x4.sub(one, exp(f32x4.add(logA, logA))));
      if (load<i32>(posPtr + (usize(t) << 2)) == 0) {
        a = zero;
        m = one;
      }
      h = f32x4.add(f32x4.mul(a, h), f32x4.mul(m, input));
      store_lanes(yRow, h, left);
      yRow += yBytes;
    }

    store_lanes(statePtr + offset, h, left);
  }
}
