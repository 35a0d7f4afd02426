// Folders in memory behind the function types of src/checkpoint, and Hugging Face folders with seeded random weights.
import type { Target } from "../../src/checkpoint/convert.ts";
import type { OpenFile } from "../../src/checkpoint/load.ts";
import { type Dtype, dtypeBytes, encodeHeader } from "../../src/checkpoint/safetensors.ts";
import type { Source } from "../../src/checkpoint/source.ts";
import { GriffinError } from "../../src/errors.ts";
import { parseConfig } from "../../src/model/config.ts";
import { weightSpecs } from "../../src/model/weights.ts";

export type Folder = Map<string, Uint8Array>;

/** One array of bytes; without Node's Buffer, because these folders are used in workerd and browsers too. */
function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((total, piece) => total + piece.byteLength, 0));
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.byteLength;
  }
  return whole;
}

export const source = (folder: Folder): Source => ({
  size: async (file) => folder.get(file)?.byteLength ?? null,
  read: async (file, offset, length) => {
    const bytes = folder.get(file)?.slice(offset, offset + length);
    if (bytes?.byteLength !== length) throw new Error(`${file} was read out of bounds`);
    return bytes;
  },
});

/** `step` is called before every change of the folder; it may throw, as a full disk or a crash would. */
export const target = (folder: Folder, step: (action: string) => void = () => undefined): Target => ({
  create: async (file) => {
    step(`create ${file}`);
    const pieces: Uint8Array[] = [];
    folder.set(file, new Uint8Array());
    return {
      write: async (bytes) => {
        step(`write ${file}`);
        pieces.push(bytes.slice());
      },
      close: async () => {
        folder.set(file, concat(pieces));
      },
    };
  },
  rename: async (from, to) => {
    step(`rename ${from}`);
    const bytes = folder.get(from);
    if (bytes === undefined) throw new Error(`${from} does not exist`);
    folder.delete(from);
    folder.set(to, bytes);
  },
  remove: async (file) => {
    step(`remove ${file}`);
    folder.delete(file);
  },
});

export function opener(folder: Folder, chunkBytes = 1000): OpenFile {
  return async (name) => {
    const bytes = folder.get(name);
    if (bytes === undefined) throw new GriffinError("not_found", `${name} does not exist.`);
    let at = 0;
    return new ReadableStream({
      pull(controller) {
        if (at >= bytes.byteLength) return controller.close();
        controller.enqueue(bytes.slice(at, (at += chunkBytes)));
      },
    });
  };
}

export interface Tensor {
  dtype: Dtype;
  shape: readonly number[];
  bytes: Uint8Array;
}
export type Tensors = Map<string, Tensor>;

/** A safetensors file. */
export function safetensors(tensors: Tensors): Uint8Array {
  const { bytes } = encodeHeader(Array.from(tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape })));
  return concat([bytes, ...Array.from(tensors.values(), (tensor) => tensor.bytes)]);
}

export const text = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

/** A small model with every kind of layer: widths that no power of two divides, two kv heads. */
export const smallConfig = {
  model_type: "recurrent_gemma",
  vocab_size: 31,
  hidden_size: 12,
  lru_width: 20,
  intermediate_size: 36,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 6,
  attention_window_size: 8,
  partial_rotary_factor: 0.67,
  block_types: ["recurrent", "attention"],
  bos_token_id: 2,
  eos_token_id: 1,
};

/** Values of a 32-bit generator (Numerical Recipes' constants), as f32 in [-1, 1) with every mantissa bit in use. */
export function randomF32(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The tensors of a config in Hugging Face's names and shapes. Narrow dtypes keep the upper half of the random bits. */
export function randomTensors(config: object, dtype: "F32" | "BF16" | "F16" = "BF16", seed = 1): Tensors {
  return new Map(
    weightSpecs(parseConfig(config)).map(({ name, shape }, i): [string, Tensor] => {
      const floats = randomF32(
        shape.reduce((product, dim) => product * dim, 1),
        seed + i,
      );
      const bits = new Uint32Array(floats.buffer);
      const stored =
        dtype === "F32" ? bits : Uint16Array.from(bits, (b) => (b >>> 16) & (dtype === "F16" ? 0xbfff : 0xffff));
      const conv = name.endsWith("conv_1d.weight");
      return [
        name === "lm_head.weight" ? name : `model.${name}`,
        { dtype, shape: conv ? [shape[1] ?? 0, 1, 4] : shape, bytes: new Uint8Array(stored.buffer) },
      ];
    }),
  );
}

/** A Hugging Face folder with one file of weights. */
export const huggingFaceFolder = (config: object = smallConfig, tensors = randomTensors(config)): Folder =>
  new Map([
    ["config.json", text(config)],
    ["model.safetensors", safetensors(tensors)],
  ]);

/** The same folder in `count` shards with an index. */
export function sharded(folder: Folder, tensors: Tensors, count: number): Folder {
  const shards = Array.from({ length: count }, (_, i) => `model-0000${i + 1}-of-0000${count}.safetensors`);
  const placed = [...tensors].map(([name, tensor], i) => ({ name, tensor, file: shards[i % count] ?? "" }));
  const files = shards.map((file): [string, Uint8Array] => [
    file,
    safetensors(new Map(placed.filter((each) => each.file === file).map(({ name, tensor }) => [name, tensor]))),
  ]);
  const index = { metadata: {}, weight_map: Object.fromEntries(placed.map(({ name, file }) => [name, file])) };
  const rest = [...folder].filter(([file]) => file !== "model.safetensors");
  return new Map([...rest, ["model.safetensors.index.json", text(index)], ...files]);
}

/** A half by the formula of IEEE 754; finite ones only. */
const f16 = (bits: number) => {
  const [exponent, mantissa] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
};

/** Elements of a stored tensor as numbers. */
export function values({ dtype, bytes }: Pick<Tensor, "bytes"> & { dtype: Dtype }): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / dtypeBytes[dtype] }, (_, i) => {
    if (dtype === "F32") return view.getFloat32(4 * i, true);
    const bits = view.getUint16(2 * i, true);
    if (dtype === "F16") return f16(bits);
    return new Float32Array(Uint32Array.of(bits << 16).buffer)[0] ?? NaN;
  });
}
