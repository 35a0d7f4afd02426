// y = silu(gate) · x
// silu(g) = g · σ(g), computed as g / (1 + exp(−g))
//
// Shapes     y, gate, x [count] f32
// Alignment  none needed
// Aliasing   y may be gate
// Tail       padded vector
// Tolerance  3e-7 relative
// Source     SiLU (arXiv 1606.08415); gated MLP (arXiv 2002.05202)
import { silu } from "./math";
import { load_lanes, store_lanes } from "./simd";

/** Gates `count` elements. */
export function silu_mul(yPtr: usize, gatePtr: usize, xPtr: usize, count: i32): void {
  for (let i = 0; i < count; i += 4) {
    const left = count - i;
    const offset = usize(i) << 2;
    const gate = load_lanes(gatePtr + offset, left);
    store_lanes(yPtr + offset, f32x4.mul(silu(gate), load_lanes(xPtr + offset, left)), left);
  }
}
