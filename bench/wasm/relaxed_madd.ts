// Ceiling of f32 where a processor may fuse: sums in registers, no load, no store. What our kernels lose to it is the price
// of the same bits on every machine. Every step multiplies the sum beside it, so that no two products are the same one.

/** Products of one step: 12 vectors of 4. */
export function macs_per_step(): i32 {
  return 48;
}

/** Small enough that sums stay near 1, large enough that no product is subnormal. */
const FACTOR = memory.data<f32>([1e-20, 1e-20, 1e-20, 1e-20]);

/** sum + a · b, in one rounding or in two, as the processor likes; twelve chains hide its latency. */
export function multiply(steps: i32): f32 {
  const factor = v128.load(FACTOR);
  let s0 = f32x4.splat(1);
  let s1 = f32x4.splat(1);
  let s2 = f32x4.splat(1);
  let s3 = f32x4.splat(1);
  let s4 = f32x4.splat(1);
  let s5 = f32x4.splat(1);
  let s6 = f32x4.splat(1);
  let s7 = f32x4.splat(1);
  let s8 = f32x4.splat(1);
  let s9 = f32x4.splat(1);
  let s10 = f32x4.splat(1);
  let s11 = f32x4.splat(1);
  for (let i = 0; i < steps; i++) {
    s0 = f32x4.relaxed_madd(s1, factor, s0);
    s1 = f32x4.relaxed_madd(s2, factor, s1);
    s2 = f32x4.relaxed_madd(s3, factor, s2);
    s3 = f32x4.relaxed_madd(s4, factor, s3);
    s4 = f32x4.relaxed_madd(s5, factor, s4);
    s5 = f32x4.relaxed_madd(s6, factor, s5);
    s6 = f32x4.relaxed_madd(s7, factor, s6);
    s7 = f32x4.relaxed_madd(s8, factor, s7);
    s8 = f32x4.relaxed_madd(s9, factor, s8);
    s9 = f32x4.relaxed_madd(s10, factor, s9);
    s10 = f32x4.relaxed_madd(s11, factor, s10);
    s11 = f32x4.relaxed_madd(s0, factor, s11);
  }
  return f32x4.extract_lane(
    f32x4.add(
      f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, s7))),
      f32x4.add(f32x4.add(s8, s9), f32x4.add(s10, s11)),
    ),
    0,
  );
}
