// y = a + b
//
// Shapes     y, a, b [count] f32
// Alignment  none needed
// Aliasing   y may be a or b
// Tail       padded vector
// Tolerance  exact: one rounding
// Source     the residual connections of Griffin (arXiv 2402.19427), section 2.1
import { load_lanes, store_lanes } from "./simd";

/** Adds two tensors of `count` elements. */
export function add(yPtr: usize, aPtr: usize, bPtr: usize, count: i32): void {
  for (let i = 0; i < count; i += 4) {
    const left = count - i;
    const offset = usize(i) << 2;
    store_lanes(yPtr + offset, f32x4.add(load_lanes(aPtr + offset, left), load_lanes(bPtr + offset, left)), left);
  }
}
