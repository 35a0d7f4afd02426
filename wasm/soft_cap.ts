// y = cap · tanh(x / cap)
//
// Shapes     y, x [count] f32, cap f32 > 0
// Alignment  none needed
// Aliasing   y may be x
// Tail       padded vector
// Tolerance  5e-7 relative
// Source     logits_soft_cap of recurrentgemma; Gemma 2 (arXiv 2408.00118), section 2.2
import { tanh } from "./math";
import { load_lanes, store_lanes } from "./simd";

/** Bounds `count` logits to (−cap, cap). */
export function soft_cap(yPtr: usize, xPtr: usize, count: i32, cap: f32): void {
  const caps = f32x4.splat(cap);
  for (let i = 0; i < count; i += 4) {
    const left = count - i;
    const offset = usize(i) << 2;
    const x = load_lanes(xPtr + offset, left);
    store_lanes(yPtr + offset, f32x4.mul(tanh(f32x4.div(x, caps)), caps), left);
  }
}
