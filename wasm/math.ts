// Elementary functions of four f32 at once, inline. Each is a polynomial after a reduction, in multiplications,
// additions and divisions only, so it gives the same bits on every machine. The largest errors against float64, in
// units in the last place, stand beside each function and are checked by test/wasm/math.test.ts. NaN stays NaN.
//
// Constants lie in memory, four lanes each: Binaryen copies constant vectors to every use and V8 rebuilds them there
// each time, which is slower than a load. `pmin` and `pmax` with the bound second keep NaN and are one instruction.

const ONE = memory.data<f32>([1, 1, 1, 1]);
const TWO = memory.data<f32>([2, 2, 2, 2]);
const SIGN = memory.data<u32>([0x80000000, 0x80000000, 0x80000000, 0x80000000]);

// The reduction of Cody and Waite: n = nearest(x / ln 2), r = x − n · ln 2 in two steps; n · LN2_HIGH is exact, LN2_HIGH
// having 9 bits. Adding MAGIC = 1.5 · 2²³ rounds to an integer, half to even.
const MAGIC = memory.data<f32>([12582912, 12582912, 12582912, 12582912]);
const LOG2E = memory.data<f32>([1.442695, 1.442695, 1.442695, 1.442695]);
const LN2_HIGH = memory.data<f32>([0.693359375, 0.693359375, 0.693359375, 0.693359375]);
const LN2_LOW = memory.data<f32>([-0.00021219444, -0.00021219444, -0.00021219444, -0.00021219444]);

// exp(r) − 1 ≈ r + r² · (E0 + E1 · r + … + E4 · r⁴) for |r| ≤ ln 2 / 2: minimax, relative to exp(r) within 3.2e-9.
const E0 = memory.data<f32>([0.49999994, 0.49999994, 0.49999994, 0.49999994]);
const E1 = memory.data<f32>([0.16666521, 0.16666521, 0.16666521, 0.16666521]);
const E2 = memory.data<f32>([0.041668277, 0.041668277, 0.041668277, 0.041668277]);
const E3 = memory.data<f32>([0.008368687, 0.008368687, 0.008368687, 0.008368687]);
const E4 = memory.data<f32>([0.0013819826, 0.0013819826, 0.0013819826, 0.0013819826]);

// Beyond these, exp is infinite and 0 in f32, and expm1 is −1.
const EXP_MAX = memory.data<f32>([89, 89, 89, 89]);
const EXP_MIN = memory.data<f32>([-104, -104, -104, -104]);
const EXPM1_MIN = memory.data<f32>([-87, -87, -87, -87]);

// Rounds to n = −127, of which the power of two is 0.
const NORMAL_MIN = memory.data<f32>([-88, -88, -88, -88]);

// log1p(y) = 2 · atanh(s), s = y / (2 + y): 2 · s + s · z · (L0 + … + L3 · z³), z = s² ≤ 1/9: minimax, within 4.6e-9.
const L0 = memory.data<f32>([0.6666641, 0.6666641, 0.6666641, 0.6666641]);
const L1 = memory.data<f32>([0.40021738, 0.40021738, 0.40021738, 0.40021738]);
const L2 = memory.data<f32>([0.27998558, 0.27998558, 0.27998558, 0.27998558]);
const L3 = memory.data<f32>([0.2802711, 0.2802711, 0.2802711, 0.2802711]);

// −2 · √(2/π) and −2 · √(2/π) · 0.044715, the tanh approximation of GELU (arXiv 1606.08415)
const GELU_LINEAR = memory.data<f32>([-1.5957692, -1.5957692, -1.5957692, -1.5957692]);
const GELU_CUBIC = memory.data<f32>([-0.071354814, -0.071354814, -0.071354814, -0.071354814]);

/** MAGIC + n, n being x / ln 2 rounded half to even: the low bits of the sum are n as an integer. */
// @ts-ignore: decorator
@inline
function magic_plus_n(x: v128): v128 {
  return f32x4.add(f32x4.mul(x, v128.load(LOG2E)), v128.load(MAGIC));
}

/** 2ⁿ for −127 ≤ n < 128 (0 for −127), from any integer whose low nine bits are n's. */
// @ts-ignore: decorator
@inline
function power_of_two(n: v128): v128 {
  return i32x4.add(i32x4.shl(n, 23), v128.load(ONE));
}

/** exp(r) − 1 for the r of the reduction. */
// @ts-ignore: decorator
@inline
function expm1_reduced(x: v128, magic: v128): v128 {
  const n = f32x4.sub(magic, v128.load(MAGIC));
  const high = f32x4.sub(x, f32x4.mul(n, v128.load(LN2_HIGH)));
  const r = f32x4.sub(high, f32x4.mul(n, v128.load(LN2_LOW)));
  let p = f32x4.add(f32x4.mul(v128.load(E4), r), v128.load(E3));
  p = f32x4.add(f32x4.mul(p, r), v128.load(E2));
  p = f32x4.add(f32x4.mul(p, r), v128.load(E1));
  p = f32x4.add(f32x4.mul(p, r), v128.load(E0));
  return f32x4.add(f32x4.mul(f32x4.mul(r, r), p), r);
}

/** eˣ, denormal results and infinity included: 1 ulp. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, v128.load(EXP_MIN)), v128.load(EXP_MAX));
  const magic = magic_plus_n(bounded);
  const e = f32x4.add(expm1_reduced(bounded, magic), v128.load(ONE));
  // In two factors: 2ⁿ itself may be infinite or denormal where the result is not.
  const n = i32x4.sub(magic, v128.load(MAGIC));
  const half = i32x4.shr_s(n, 1);
  return f32x4.mul(f32x4.mul(e, power_of_two(half)), power_of_two(i32x4.sub(n, half)));
}

/** eˣ for x ≤ 88: the bits of exp, but 0 from −87.7 down, where eˣ is nearly denormal. */
// @ts-ignore: decorator
@inline
export function exp_normal(x: v128): v128 {
  const bounded = f32x4.pmax(x, v128.load(NORMAL_MIN));
  const magic = magic_plus_n(bounded);
  const e = f32x4.add(expm1_reduced(bounded, magic), v128.load(ONE));
  return f32x4.mul(e, power_of_two(magic));
}

/** eˣ − 1 for x ≤ 88, however small: 1.5 ulp. */
// @ts-ignore: decorator
@inline
export function expm1(x: v128): v128 {
  const bounded = f32x4.pmax(x, v128.load(EXPM1_MIN));
  const magic = magic_plus_n(bounded);
  const scale = power_of_two(magic);
  const scaled = f32x4.mul(expm1_reduced(bounded, magic), scale);
  return f32x4.add(scaled, f32x4.sub(scale, v128.load(ONE)));
}

/** 1 / (1 + e⁻ˣ): 2.5 ulp; 0 below −88.7, where the true value is denormal. */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  const one = v128.load(ONE);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

/** −m / (2 + m) with m = e^(−2·|x|) − 1, signed as x: 2.5 ulp, without cancellation near 0 or overflow far out. */
// @ts-ignore: decorator
@inline
export function tanh(x: v128): v128 {
  const sign = v128.load(SIGN);
  const two = v128.load(TWO);
  const m = expm1(v128.or(f32x4.mul(x, two), sign));
  return v128.bitselect(x, f32x4.div(m, f32x4.add(two, m)), sign);
}

/** ln(1 + eˣ) = max(x, 0) + log1p(e^−|x|): 3 ulp, however small the result is. */
// @ts-ignore: decorator
@inline
export function softplus(x: v128): v128 {
  const y = exp(v128.or(x, v128.load(SIGN)));
  const s = f32x4.div(y, f32x4.add(y, v128.load(TWO)));
  const z = f32x4.mul(s, s);
  let p = f32x4.add(f32x4.mul(v128.load(L3), z), v128.load(L2));
  p = f32x4.add(f32x4.mul(p, z), v128.load(L1));
  p = f32x4.add(f32x4.mul(p, z), v128.load(L0));
  const log1p = f32x4.add(f32x4.mul(f32x4.mul(s, z), p), f32x4.add(s, s));
  return f32x4.add(f32x4.pmax(x, i32x4.splat(0)), log1p);
}

/** x · σ(x), as x / (1 + e⁻ˣ): 2.5 ulp. */
// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return f32x4.div(x, f32x4.add(v128.load(ONE), exp(f32x4.neg(x))));
}

/** ½ · x · (1 + tanh u) with u = √(2/π) · (x + 0.044715 · x³), as x / (1 + e⁻²ᵘ): 3 ulp for x ≥ −1, 40 ulp for x ≥ −5,
 *  where the rounding of 2u shows, and an absolute error below 3e-9 beyond. */
// @ts-ignore: decorator
@inline
export function gelu_tanh(x: v128): v128 {
  const slope = f32x4.add(f32x4.mul(f32x4.mul(x, x), v128.load(GELU_CUBIC)), v128.load(GELU_LINEAR));
  return f32x4.div(x, f32x4.add(v128.load(ONE), exp(f32x4.mul(x, slope))));
}
