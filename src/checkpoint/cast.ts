// Pieces of tensors from one stored dtype to another. Exact, except f32 and f16 to bf16: rounded half to even.
// Reads and writes the machine's byte order, which is little-endian wherever this runs, as safetensors is.
import { bf16Bits } from "../model/bf16.ts";
import { type Dtype, dtypeBytes } from "./safetensors.ts";

export const sourceDtypes = ["F32", "BF16", "F16"] as const satisfies Dtype[];
export type SourceDtype = (typeof sourceDtypes)[number];

/** Elements of `bytes`, whole and stored as `from`, stored as `to`. May return `bytes` itself. */
export function cast(bytes: Uint8Array, from: SourceDtype, to: "F32" | "BF16"): Uint8Array {
  if (from === to) return bytes;
  const aligned = bytes.byteOffset % dtypeBytes[from] === 0 ? bytes : new Uint8Array(bytes);
  const { buffer, byteOffset, byteLength } = aligned;
  const count = byteLength / dtypeBytes[from];
  const bits = from === "F32" ? new Uint32Array(buffer, byteOffset, count) : new Uint16Array(buffer, byteOffset, count);
  const toF32Bits = from === "F16" ? f16ToF32Bits : (b: number) => b << 16;
  if (to === "F32") {
    const wide = new Uint32Array(count);
    for (let i = 0; i < count; i++) wide[i] = toF32Bits(bits[i] ?? 0);
    return new Uint8Array(wide.buffer);
  }
  const narrow = new Uint16Array(count);
  if (from === "F32") for (let i = 0; i < count; i++) narrow[i] = bf16Bits(bits[i] ?? 0);
  else for (let i = 0; i < count; i++) narrow[i] = bf16Bits(toF32Bits(bits[i] ?? 0));
  return new Uint8Array(narrow.buffer);
}

/** IEEE half to single: sign, 5 bits of exponent with bias 15, 10 of mantissa. */
function f16ToF32Bits(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (mantissa << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (mantissa << 13);
  if (mantissa === 0) return sign;
  const shift = Math.clz32(mantissa) - 21; // subnormal halves are normal singles
  return sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13);
}

/** The convolution's taps first: [R, 4], in whichever of its stored shapes, to [4, R]. */
export function tapsFirst(bytes: Uint8Array, taps: number): Uint8Array {
  const rows = bytes.byteLength / 4 / taps;
  const from = new Uint32Array(new Uint8Array(bytes).buffer);
  const to = new Uint32Array(from.length);
  for (let r = 0; r < rows; r++) for (let t = 0; t < taps; t++) to[t * rows + r] = from[r * taps + t] ?? 0;
  return new Uint8Array(to.buffer);
}
