// Whole safetensors files in memory, for tests: read to f32, written as bfloat16 or f32. Independent of src/checkpoint,
// so that a test's input does not come from the code it tests. Format: u64 header length, JSON header, data.
import { readFileSync, writeFileSync } from "node:fs";
import { round_bf16 } from "./kernels.ts";

/** Tensor name → values, row-major. */
export type Tensors = Map<string, Float32Array>;

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Every BF16, F32 or I32 tensor of a file, as f32 (exact for the integers below 2^24 that tests keep there). */
export function readTensors(path: string): Tensors {
  const file = readFileSync(path);
  const dataStart = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, dataStart)) as Record<string, HeaderEntry>;
  const tensors: Tensors = new Map();
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const bytes = Uint8Array.from(file.subarray(dataStart + data_offsets[0], dataStart + data_offsets[1])).buffer;
    if (dtype === "F32") tensors.set(name, new Float32Array(bytes));
    else if (dtype === "I32") tensors.set(name, Float32Array.from(new Int32Array(bytes)));
    else if (dtype === "BF16") {
      const words = Uint32Array.from(new Uint16Array(bytes), (half) => half << 16);
      tensors.set(name, new Float32Array(words.buffer));
    } else throw new Error(`${path}: ${name} is ${dtype}, and tests read BF16, F32 and I32 only`);
  }
  return tensors;
}

/** A tensor to write: values are rounded to `dtype`, half to even. */
export interface TensorToWrite {
  name: string;
  shape: readonly number[];
  values: ArrayLike<number>;
}

/** Writes a safetensors file with every tensor in `dtype`, in the order given. */
export function writeTensors(path: string, tensors: readonly TensorToWrite[], dtype: "BF16" | "F32"): void {
  const header: Record<string, HeaderEntry> = {};
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    const floats = Float32Array.from(values, dtype === "BF16" ? round_bf16 : (x) => x);
    const halves = () => Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16);
    const bytes = new Uint8Array(dtype === "BF16" ? halves().buffer : floats.buffer);
    header[name] = { dtype, shape: [...shape], data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    parts.push(bytes);
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  writeFileSync(path, Buffer.concat([length, padded, ...parts]));
}
