// y = x · (1 / √(mean(x²) + ε)) · (1 + w)
//
// Shapes     x, y [T, D], weight [D] f32
// Alignment  none needed; the sum's order depends on D alone
// Aliasing   y may be x
// Tail       padded vector
// Tolerance  1e-6 relative: a sum of squares in four chains, then five roundings
// Source     recurrentgemma, layers.py: RMSNorm
import { load_lanes, store_lanes, sum_lanes } from "./simd";

/** Brings every row to a root mean square of one, then scales it by 1 + weight. */
export function rms_norm(yPtr: usize, xPtr: usize, weightPtr: usize, T: i32, D: i32, epsilon: f32): void {
  const rowBytes = (<usize>D) << 2;
  for (let t = 0; t < T; t++) {
    let squares = f32x4.splat(0);
    for (let d = 0; d < D; d += 4) {
      const x = load_lanes(xPtr + ((<usize>d) << 2), D - d);
      squares = f32x4.add(squares, f32x4.mul(x, x));
    }
    const scale = f32x4.splat(<f32>1 / sqrt<f32>(sum_lanes(squares) / <f32>D + epsilon));
    const one = f32x4.splat(1);
    for (let d = 0; d < D; d += 4) {
      const offset = (<usize>d) << 2;
      const x = load_lanes(xPtr + offset, D - d);
      const gain = f32x4.add(one, load_lanes(weightPtr + offset, D - d));
      store_lanes(yPtr + offset, f32x4.mul(f32x4.mul(x, scale), gain), D - d);
    }
    xPtr += rowBytes;
    yPtr += rowBytes;
  }
}
