// Ceiling of int8: the instruction of wasm/block_dot.ts on registers, no load, no store. Every step multiplies the sum
// beside it, so that no two products are the same one.

/** Products of one step: 12 vectors of 16. */
export function macs_per_step(): i32 {
  return 192;
}

/** The second operand must be below 128. */
const WEIGHTS = memory.data<u8>([1, 22, 43, 64, 85, 106, 127, 20, 41, 62, 83, 104, 125, 18, 39, 60]);

/** Four products a lane, added to its sum; twelve chains hide the latency. */
export function multiply(steps: i32): i32 {
  const weights = v128.load(WEIGHTS);
  let s0 = i32x4.splat(1);
  let s1 = i32x4.splat(1);
  let s2 = i32x4.splat(1);
  let s3 = i32x4.splat(1);
  let s4 = i32x4.splat(1);
  let s5 = i32x4.splat(1);
  let s6 = i32x4.splat(1);
  let s7 = i32x4.splat(1);
  let s8 = i32x4.splat(1);
  let s9 = i32x4.splat(1);
  let s10 = i32x4.splat(1);
  let s11 = i32x4.splat(1);
  for (let i = 0; i < steps; i++) {
    s0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s1, weights, s0);
    s1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s2, weights, s1);
    s2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s3, weights, s2);
    s3 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s4, weights, s3);
    s4 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s5, weights, s4);
    s5 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s6, weights, s5);
    s6 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s7, weights, s6);
    s7 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s8, weights, s7);
    s8 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s9, weights, s8);
    s9 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s10, weights, s9);
    s10 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s11, weights, s10);
    s11 = i32x4.relaxed_dot_i8x16_i7x16_add_s(s0, weights, s11);
  }
  return i32x4.extract_lane(
    i32x4.add(
      i32x4.add(i32x4.add(i32x4.add(s0, s1), i32x4.add(s2, s3)), i32x4.add(i32x4.add(s4, s5), i32x4.add(s6, s7))),
      i32x4.add(i32x4.add(s8, s9), i32x4.add(s10, s11)),
    ),
    0,
  );
}
