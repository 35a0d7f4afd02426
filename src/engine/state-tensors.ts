// A state as tensors of a safetensors file, and what such a file must be to hold one: in files of states, and in what
// edge and origin send each other.
import {
  encodeHeader,
  headerLength,
  headerLengthBytes,
  parseHeader,
  type Dtype,
  type SafetensorsHeader,
} from "../checkpoint/safetensors.ts";
import { GriffinError } from "../errors.ts";
import type { StateLayout } from "../model/state.ts";

/** A tensor as a header describes it. */
export interface TensorSpec {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
}

const dtypes = { f32: "F32", bf16: "BF16" } as const;

/** The entries of a state in the layout's order: its data is theirs in one piece. */
export const stateTensors = ({ entries }: StateLayout): TensorSpec[] =>
  entries.map(({ name, dtype, shape }) => ({ name, dtype: dtypes[dtype], shape }));

/** The header of a whole file in memory. Throws `invalid_checkpoint` where it is malformed or longer than the limit. */
export function readSmallHeader(file: Uint8Array, limitBytes: number, name: string): SafetensorsHeader {
  const bytes = headerLength(file, file.byteLength, name);
  if (bytes > limitBytes) {
    throw new GriffinError("invalid_checkpoint", `${name}: its header has ${bytes} bytes, more than ${limitBytes}.`);
  }
  return parseHeader(file.subarray(headerLengthBytes, headerLengthBytes + bytes), file.byteLength, name);
}

/** What is wrong with a file that should hold exactly `expected`, in this order and without holes; undefined if nothing. */
export function tensorsFault(
  { tensors }: SafetensorsHeader,
  expected: readonly TensorSpec[],
  dataBytes: number,
): string | undefined {
  const { header, bytes, fileBytes } = encodeHeader(expected);
  for (const [name, { dtype, shape, beginBytes, endBytes }] of header.tensors) {
    const found = tensors.get(name);
    if (found === undefined) return `It has no tensor ${name}.`;
    const isSame = found.dtype === dtype && found.shape.join() === shape.join();
    if (!isSame) return `${name} is not ${dtype} [${shape.join(", ")}], as this model has it.`;
    const isInPlace = found.beginBytes === beginBytes && found.endBytes === endBytes;
    if (!isInPlace) return `${name} is not at bytes ${beginBytes} to ${endBytes} of the data.`;
  }
  if (tensors.size !== expected.length) return `It has ${tensors.size} tensors, this model's has ${expected.length}.`;
  return dataBytes === fileBytes - bytes.byteLength ? undefined : "Bytes follow its last tensor.";
}
