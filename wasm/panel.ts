// How the sums of one panel of 8 rows become outputs of a linear.
import { PANEL_ROWS } from "./pack";
import { load_lanes, store_lanes } from "./simd";

/** Stores the outputs m … m + 7 of one token, those below M, after adding the bias where there is one. */
export function store_panel(yPtr: usize, biasPtr: usize, m: i32, M: i32, low: v128, high: v128): void {
  const count = M - m;
  const offset = (<usize>m) << 2;
  if (biasPtr) low = f32x4.add(low, load_lanes(biasPtr + offset, count));
  store_lanes(yPtr + offset, low, count);
  if (count <= PANEL_ROWS / 2) return;
  if (biasPtr) high = f32x4.add(high, load_lanes(biasPtr + offset + 16, count - 4));
  store_lanes(yPtr + offset + 16, high, count - 4);
}
