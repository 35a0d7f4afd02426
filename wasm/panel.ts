// How the sums of a linear become its outputs: the bias is added where there is one, and where there is an activation the
// output is a gate: y = activation(y) · other, with the bits of gelu_mul or silu_mul on the stored y.
import { gelu_tanh, silu } from "./math";
import { PANEL_ROWS } from "./pack";
import { load_lanes, store_lanes } from "./simd";

/** Activations: of gelu_mul, of silu_mul. */
const GELU: i32 = 1;
const SILU: i32 = 2;

/** Stores up to four outputs of one token. What they gate, if anything, lies `other` bytes behind each. */
export function store_outputs(
  yPtr: usize,
  biasPtr: usize,
  count: i32,
  sums: v128,
  activation: i32,
  other: usize,
): void {
  let y = sums;
  if (biasPtr) y = f32x4.add(y, load_lanes(biasPtr, count));
  if (activation == GELU) y = f32x4.mul(gelu_tanh(y), load_lanes(yPtr + other, count));
  else if (activation == SILU) y = f32x4.mul(silu(y), load_lanes(yPtr + other, count));
  store_lanes(yPtr, y, count);
}

/** Stores the outputs m … m + 7 of one token, those below M. */
// oxfmt-ignore
export function store_panel(
  yPtr: usize, biasPtr: usize, m: i32, M: i32, low: v128, high: v128, activation: i32, other: usize,
): void {
  const count = M - m;
  const y = yPtr + ((<usize>m) << 2);
  const bias = biasPtr ? biasPtr + ((<usize>m) << 2) : 0;
  store_outputs(y, bias, count, low, activation, other);
  if (count <= PANEL_ROWS / 2) return;
  store_outputs(y + 16, bias ? bias + 16 : 0, count - 4, high, activation, other);
}
