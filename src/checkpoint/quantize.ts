// Rows of f32 to int8 or int4 in blocks of 32, each with one f32 scale. Pure arithmetic; what is stored depends on it,
// so it never changes for a format.
//
//   int8   scale = max |w| / 63, q = w / scale rounded half to even, −63 … 63: seven bits, so that WASM's dot product
//          is exact
//   int4   scale = (the w of largest magnitude, the first of equal ones) / −8, q = w / scale rounded half to even and
//          cut to −8 … 7; two a byte, the first in the low nibble
//
// Every operation is rounded to f32. Source of the int4 rule: ggml's Q4_0.
import { GriffinError } from "../errors.ts";
import { blockSize, type QuantizedType } from "../model/weights.ts";

const f = Math.fround;
/** Added to and taken from a number below 2⁵¹, it rounds it half to even. */
const roundingBias = 1.5 * 2 ** 52;
const round = (x: number) => x + roundingBias - roundingBias;

/** The scales [rows, blocks] of rows of `columns` values. Throws `invalid_checkpoint` where a value is not finite. */
export function scalesOf(values: Float32Array, columns: number, type: QuantizedType): Float32Array<ArrayBuffer> {
  const scales = new Float32Array((values.length / columns) * Math.ceil(columns / blockSize));
  let block = 0;
  for (const [from, to] of blocksOf(values.length, columns)) scales[block++] = scaleOf(values, from, to, type);
  return scales;
}

/** The bytes of rows of `columns` values. */
export function quantized(values: Float32Array, columns: number, type: QuantizedType): Uint8Array<ArrayBuffer> {
  const [least, most] = type === "i8" ? [-63, 63] : [-8, 7];
  const integers = new Int8Array(values.length);
  for (const [from, to] of blocksOf(values.length, columns)) {
    const scale = f(scaleOf(values, from, to, type));
    if (scale === 0) continue;
    for (let i = from; i < to; i++) {
      integers[i] = Math.min(Math.max(round(f((values[i] ?? 0) / scale)), least), most);
    }
  }
  if (type === "i8") return new Uint8Array(integers.buffer);
  const bytes = new Uint8Array(integers.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = ((integers[2 * i] ?? 0) & 15) | (((integers[2 * i + 1] ?? 0) & 15) << 4);
  }
  return bytes;
}

/** Where blocks begin and end: they do not run on into the next row. */
function* blocksOf(count: number, columns: number): Generator<[from: number, to: number]> {
  for (let row = 0; row < count; row += columns) {
    for (let from = row; from < row + columns; from += blockSize) {
      yield [from, Math.min(from + blockSize, row + columns)];
    }
  }
}

function scaleOf(values: Float32Array, from: number, to: number, type: QuantizedType): number {
  let extreme = 0;
  for (let i = from; i < to; i++) {
    const value = values[i] ?? 0;
    if (!Number.isFinite(value)) {
      throw new GriffinError("invalid_checkpoint", `A matrix has the value ${value}; it cannot be quantised.`);
    }
    if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  }
  return type === "i8" ? Math.abs(extreme) / 63 : extreme / -8;
}
