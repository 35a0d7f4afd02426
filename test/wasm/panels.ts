// Matrices as `linear` and `embed` read them: rows rounded to a dtype and packed, by our own kernel, into panels.
import { round_bf16 } from "../reference/kernels.ts";
import { kernels, type Operand, type Operands } from "./harness.ts";

export const dtypes = ["f32", "bf16"] as const;
export type Dtype = (typeof dtypes)[number];

/** Values as this dtype holds them. */
export function rounded(values: Float32Array, dtype: Dtype): Float32Array<ArrayBuffer> {
  return Float32Array.from(values, dtype === "bf16" ? round_bf16 : (x) => x);
}

/** The elements of a tensor of this dtype: f32, or the upper halves of f32 already rounded to bf16. */
export function elements(values: Float32Array<ArrayBuffer>, dtype: Dtype): Float32Array | Uint16Array {
  return dtype === "f32" ? values : Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
}

/** A row-major matrix [rows, K], packed panel by panel. */
export function panels(
  operands: Operands,
  values: Float32Array<ArrayBuffer>,
  rows: number,
  K: number,
  dtype: Dtype,
): Operand {
  const matrix = operands.input(elements(values, dtype));
  const elementBytes = dtype === "f32" ? 4 : 2;
  const count = Math.ceil(rows / 8) * 8 * K;
  const packed = operands.inOut(dtype === "f32" ? new Float32Array(count).fill(NaN) : new Uint16Array(count).fill(-1));
  for (let row = 0; row < rows; row += 8) {
    const offsetBytes = row * K * elementBytes;
    kernels[`pack_${dtype}`](packed.ptr + offsetBytes, matrix.ptr + offsetBytes, Math.min(8, rows - row), K);
  }
  return packed;
}
