// y = gelu_tanh(gate) · x
// gelu_tanh(g) = ½ · g · (1 + tanh(√(2/π) · (g + 0.044715 · g³))), computed as g / (1 + exp(−2 · √(2/π) · (…)))
//
// Shapes     y, gate, x [count] f32
// Alignment  none needed
// Aliasing   y may be gate
// Tail       padded vector
// Tolerance  1e-6 relative + 1e-8 · |x|
// Source     GELU (arXiv 1606.08415), the tanh approximation; Griffin (arXiv 2402.19427), section 2.2
import { gelu_tanh } from "./math";
import { load_lanes, store_lanes } from "./simd";

/** Gates `count` elements. */
export function gelu_mul(yPtr: usize, gatePtr: usize, xPtr: usize, count: i32): void {
  for (let i = 0; i < count; i += 4) {
    const left = count - i;
    const offset = usize(i) << 2;
    const gate = load_lanes(gatePtr + offset, left);
    store_lanes(yPtr + offset, f32x4.mul(gelu_tanh(gate), load_lanes(xPtr + offset, left)), left);
  }
}
