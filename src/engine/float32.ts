// exp, log and sums in f32, with the same bits on every machine and in every language: only f32 additions,
// multiplications and bit patterns, each rounded to nearest even. Math.exp and Math.log are never used, since their
// last bit may vary. origin/griffin_origin/sampling.py does the same steps, and test/vectors/sampling.json holds both
// to it. Polynomials: Cephes expf and logf (S. Moshier), within 1 unit in the last place.

const f = Math.fround;
const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

const log2e = f(Math.LOG2E);
const ln2High = 0.693359375; // few enough bits that its product with an exponent is exact
const ln2Low = f(-2.1219444e-4);
const sqrtHalf = f(Math.SQRT1_2);
/** 1.5 · 2^23: adding and taking it away again rounds a small f32 to an integer, half to even. */
const roundingMagic = 12582912;

/** eˣ of an f32 x ≤ 0; exactly 0 below −87, so that no result is subnormal. */
export function exp32(x: number): number {
  if (x < -87) return 0;
  const n = f(f(f(x * log2e) + roundingMagic) - roundingMagic);
  const r = f(f(x - f(n * ln2High)) - f(n * ln2Low));
  let p = f(1.9875691e-4);
  p = f(f(p * r) + f(1.3981999e-3));
  p = f(f(p * r) + f(8.333452e-3));
  p = f(f(p * r) + f(4.1665796e-2));
  p = f(f(p * r) + f(1.6666666e-1));
  p = f(f(p * r) + f(5.0000001e-1));
  const y = f(f(f(p * f(r * r)) + r) + 1);
  bits[0] = (n + 127) << 23; // 2ⁿ
  return f(y * (float[0] ?? 0));
}

/** The natural logarithm of a positive, finite and normal f32. */
export function log32(x: number): number {
  float[0] = x;
  const pattern = bits[0] ?? 0;
  bits[0] = (pattern & 0x007fffff) | 0x3f000000;
  let e = (pattern >>> 23) - 126; // x = m · 2ᵉ with m in [½, 1)
  let m = float[0];
  if (m < sqrtHalf) {
    e -= 1;
    m = f(f(m + m) - 1);
  } else {
    m = f(m - 1);
  }
  const square = f(m * m);
  let p = f(7.0376836e-2);
  p = f(f(p * m) - f(1.151461e-1));
  p = f(f(p * m) + f(1.1676999e-1));
  p = f(f(p * m) - f(1.2420141e-1));
  p = f(f(p * m) + f(1.4249323e-1));
  p = f(f(p * m) - f(1.6668058e-1));
  p = f(f(p * m) + f(2.0000715e-1));
  p = f(f(p * m) - f(2.4999994e-1));
  p = f(f(p * m) + f(3.3333331e-1));
  const tail = f(f(f(p * m) * square) + f(e * ln2Low));
  return f(f(m + f(tail - f(0.5 * square))) + f(e * ln2High));
}

const laneCount = 256;
const lanes = new Float32Array(laneCount);

/** Σ term(i), i < count, in a fixed order that vectorises anywhere: lane j adds the terms i ≡ j mod 256 in order of i,
 *  then the upper half of the lanes is added to the lower half until one is left. */
export function sum32(count: number, term: (i: number) => number): number {
  lanes.fill(0);
  for (let i = 0; i < count; i++) lanes[i % laneCount] = (lanes[i % laneCount] ?? 0) + term(i); // stored as f32: rounded
  for (let half = laneCount / 2; half >= 1; half /= 2) {
    for (let i = 0; i < half; i++) lanes[i] = (lanes[i] ?? 0) + (lanes[half + i] ?? 0);
  }
  return lanes[0] ?? 0;
}
