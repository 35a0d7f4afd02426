// Inline helpers for rows of f32. A row is walked in vectors of four lanes, and the one to three elements left over
// are put into a vector padded with zeros: the same instructions compute them, so no result depends on where in a row
// it stands. Nothing here is relaxed SIMD: every operation is exact IEEE arithmetic, the same bits on every machine.

/** Up to four f32 at `ptr`: all of them where `count` ≥ 4, else the first `count`, and zeros. */
// @ts-ignore: decorator
@inline
export function load_lanes(ptr: usize, count: i32): v128 {
  return count >= 4 ? v128.load(ptr) : load_tail(ptr, count);
}

/** Stores the first `count` lanes, four at most. */
// @ts-ignore: decorator
@inline
export function store_lanes(ptr: usize, v: v128, count: i32): void {
  if (count >= 4) v128.store(ptr, v);
  else store_tail(ptr, v, count);
}

/** One to three f32 at `ptr`, the other lanes zero. */
export function load_tail(ptr: usize, count: i32): v128 {
  if (count == 1) return v128.load32_zero(ptr);
  const two = v128.load64_zero(ptr);
  return count == 2 ? two : v128.load_lane<f32>(ptr, two, 2, 8);
}

/** Stores lanes 0 to `count` − 1, of one to three. */
export function store_tail(ptr: usize, v: v128, count: i32): void {
  if (count == 1) return v128.store_lane<f32>(ptr, v, 0);
  v128.store_lane<f64>(ptr, v, 0);
  if (count == 3) v128.store_lane<f32>(ptr, v, 2, 8);
}

/** The sum of the four lanes, always as (0 + 2) + (1 + 3). */
// @ts-ignore: decorator
@inline
export function sum_lanes(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** The sums of the lanes of four vectors, each as sum_lanes adds them. */
// @ts-ignore: decorator
@inline
export function sum_lanes_of_4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** The largest of the four lanes. */
// @ts-ignore: decorator
@inline
export function max_lanes(v: v128): f32 {
  const pairs = f32x4.max(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}

/** sum + a · b in two roundings: one step of a chain that every path through a kernel takes alike. */
// @ts-ignore: decorator
@inline
export function mul_add(sum: v128, a: v128, b: v128): v128 {
  return f32x4.add(sum, f32x4.mul(a, b));
}

/** Keeps the high half of every u32: rows 4–7 of a panel of bf16 as f32 (pack.ts). */
export const HIGH_HALVES = memory.data<u32>([0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000]);

/** Rows 0–3 of one k of a panel that begins with `first`, as f32; W is f32, or u16 for bf16. */
// @ts-ignore: decorator
@inline
export function rows_0_3<W>(first: v128): v128 {
  return isFloat<W>() ? first : i32x4.shl(first, 16);
}

/** Rows 4–7 of it; `at` is where it lies. */
// @ts-ignore: decorator
@inline
export function rows_4_7<W>(first: v128, at: usize, mask: v128): v128 {
  return isFloat<W>() ? v128.load(at, 16) : v128.and(first, mask);
}
