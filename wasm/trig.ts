// frequency[i] = θ^(−2i / rotaryDim), cos[i] and sin[i] of position · frequency[i]: the angles of RoPE, in f64
//
// Shapes     frequency f64, cos and sin f32, of half = rotaryDim / 2 elements rounded up to an even count
// Alignment  none needed
// Aliasing   none
// Tail       pairs; an odd count computes one element more
// Tolerance  0.51 ulp of f32 for angles below 2³¹: the f64 result is good to 1e-16 + 1.2e-16 · angle (the product),
//            and is rounded once
// Source     RoFormer (arXiv 2104.09864) section 3.4; sin and cos: FreeBSD msun k_sin.c, k_cos.c. Angles are turned
//            into [−π/4, π/4] by parts of π/2 after Cody and Waite: k < 2³¹ has 31 bits and the first two parts 22,
//            so that their products with k are exact.

// oxfmt-ignore
const CONSTANTS = memory.data<f64>([
  // 2/π, then π/2 in three parts
  0.6366197723675814, 1.570796012878418, 3.139164164167596e-7, 6.223372171896613e-14,
  // S1 … S6: sin(r) = r + r³ · (S1 + … + S6 · r¹⁰)
  -1.66666666666666324348e-1, 8.33333333332248946124e-3, -1.98412698298579493134e-4,
  2.75573137070700676789e-6, -2.50507602534068634195e-8, 1.58969099521155010221e-10,
  // C1 … C6: cos(r) = 1 − r²/2 + r⁴ · (C1 + … + C6 · r¹⁰)
  4.16666666666666019037e-2, -1.38888888888741095749e-3, 2.48015872894767294178e-5,
  -2.75573143513906633035e-7, 2.08757232129817482790e-9, -1.13596475577881948265e-11,
  1, 0.5,
]);

/** Writes the frequencies of a head whose first `rotaryDim` dims are turned. */
export function rope_frequencies(frequencyPtr: usize, rotaryDim: i32, theta: f64): void {
  const half = rotaryDim >> 1;
  for (let i = 0; i < half + (half & 1); i++) {
    store<f64>(frequencyPtr + ((<usize>i) << 3), Math.pow(theta, <f64>(-2 * i) / <f64>rotaryDim));
  }
}

/** Writes the cosines and sines of one position's angles. */
export function rope_angles(cosPtr: usize, sinPtr: usize, frequencyPtr: usize, half: i32, position: u32): void {
  const perQuarter = v128.load64_splat(CONSTANTS);
  const quarter1 = v128.load64_splat(CONSTANTS, 8);
  const quarter2 = v128.load64_splat(CONSTANTS, 16);
  const quarter3 = v128.load64_splat(CONSTANTS, 24);
  const s1 = v128.load64_splat(CONSTANTS, 32);
  const s2 = v128.load64_splat(CONSTANTS, 40);
  const s3 = v128.load64_splat(CONSTANTS, 48);
  const s4 = v128.load64_splat(CONSTANTS, 56);
  const s5 = v128.load64_splat(CONSTANTS, 64);
  const s6 = v128.load64_splat(CONSTANTS, 72);
  const c1 = v128.load64_splat(CONSTANTS, 80);
  const c2 = v128.load64_splat(CONSTANTS, 88);
  const c3 = v128.load64_splat(CONSTANTS, 96);
  const c4 = v128.load64_splat(CONSTANTS, 104);
  const c5 = v128.load64_splat(CONSTANTS, 112);
  const c6 = v128.load64_splat(CONSTANTS, 120);
  const one = v128.load64_splat(CONSTANTS, 128);
  const oneHalf = v128.load64_splat(CONSTANTS, 136);
  const p = f64x2.splat(<f64>position);

  for (let i = 0; i < half; i += 2) {
    const angle = f64x2.mul(p, v128.load(frequencyPtr + ((<usize>i) << 3)));
    const k = f64x2.nearest(f64x2.mul(angle, perQuarter));
    let r = f64x2.sub(angle, f64x2.mul(k, quarter1));
    r = f64x2.sub(r, f64x2.mul(k, quarter2));
    r = f64x2.sub(r, f64x2.mul(k, quarter3));

    const z = f64x2.mul(r, r);
    let sin = f64x2.add(s5, f64x2.mul(z, s6));
    sin = f64x2.add(s4, f64x2.mul(z, sin));
    sin = f64x2.add(s3, f64x2.mul(z, sin));
    sin = f64x2.add(s2, f64x2.mul(z, sin));
    sin = f64x2.add(s1, f64x2.mul(z, sin));
    sin = f64x2.add(r, f64x2.mul(f64x2.mul(z, r), sin));

    let cos = f64x2.add(c5, f64x2.mul(z, c6));
    cos = f64x2.add(c4, f64x2.mul(z, cos));
    cos = f64x2.add(c3, f64x2.mul(z, cos));
    cos = f64x2.add(c2, f64x2.mul(z, cos));
    cos = f64x2.add(c1, f64x2.mul(z, cos));
    cos = f64x2.mul(f64x2.mul(z, z), cos);
    cos = f64x2.add(f64x2.sub(one, f64x2.mul(oneHalf, z)), cos);

    // Quarter turns k mod 4: odd ones swap sine and cosine, 2 and 3 negate the sine, 1 and 2 the cosine.
    const turns = i64x2.extend_low_i32x4_s(i32x4.trunc_sat_f64x2_s_zero(k));
    const swapped = i64x2.neg(v128.and(turns, i64x2.splat(1)));
    const sinSign = i64x2.shl(i64x2.shr_u(turns, 1), 63);
    const cosSign = i64x2.shl(i64x2.shr_u(i64x2.add(turns, i64x2.splat(1)), 1), 63);
    const turnedSin = v128.xor(v128.bitselect(cos, sin, swapped), sinSign);
    const turnedCos = v128.xor(v128.bitselect(sin, cos, swapped), cosSign);
    v128.store_lane<f64>(sinPtr + ((<usize>i) << 2), f32x4.demote_f64x2_zero(turnedSin), 0);
    v128.store_lane<f64>(cosPtr + ((<usize>i) << 2), f32x4.demote_f64x2_zero(turnedCos), 0);
  }
}
