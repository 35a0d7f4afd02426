// bfloat16: the upper half of an IEEE float32. Narrowing rounds half to even, as torch, JAX and ONNX do.

/** Bits of the bfloat16 nearest to the float32 with bits `f32Bits`. A NaN stays a NaN. */
export function bf16Bits(f32Bits: number): number {
  if ((f32Bits & 0x7fffffff) > 0x7f800000) return (f32Bits >>> 16) | 0x40;
  return (f32Bits + 0x7fff + ((f32Bits >>> 16) & 1)) >>> 16;
}

/** The bfloat16 nearest to `value`, as a number. */
export function bf16Round(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = bf16Bits(bits[0] ?? 0) << 16;
  return new Float32Array(bits.buffer)[0] ?? 0;
}
