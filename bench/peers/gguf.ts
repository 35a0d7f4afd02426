// A llama.cpp model with random weights: llama.cpp knows no Griffin that it could run from such a file, so its peer is a Llama
// of the same width and of as many weights a token. Written as GGUF, whose truth is
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import { mkdir, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { uniform } from "../../test/reference/random-model.ts";
import { cacheFolder } from "../models.ts";

export type LlamaFormat = "Q8_0" | "Q4_0";

/** 30.2 M parameters, as the generated Griffin has. */
export const llama = { vocabSize: 4096, width: 512, mlpWidth: 1024, blocks: 13, numHeads: 8, numKvHeads: 1 };

const version = 3;
const alignmentBytes = 32;
const contextLength = 131_072;
/** ggml_type, general.file_type, and bytes of a block of 32 weights: an f16 scale and integers. */
const formats = {
  Q8_0: { type: 8, fileType: 7, blockBytes: 34, scale: 1 / 127 },
  Q4_0: { type: 2, fileType: 2, blockBytes: 18, scale: 1 / 8 },
};
const f32Type = 0;
const valueType = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 } as const;

/** The file of the model, which is made where it is not there yet. */
export async function ggufFile(format: LlamaFormat): Promise<string> {
  const file = path.join(cacheFolder, "gguf", `llama-30M-${format}.gguf`);
  if ((await stat(file).catch(() => null)) !== null) return file;
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, encode(format));
  return file;
}

function encode(format: LlamaFormat): Uint8Array {
  const tensors = tensorsOf(format);
  const values = metadata(format);
  const head: Uint8Array[] = [text("GGUF"), u32(version), u64(tensors.length), u64(values.length), ...values];
  let offsetBytes = 0;
  for (const { name, dims, type, data } of tensors) {
    head.push(string(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offsetBytes));
    offsetBytes += data.byteLength + padding(data.byteLength).byteLength;
  }
  const headBytes = head.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return Buffer.concat([
    ...head,
    padding(headBytes),
    ...tensors.flatMap(({ data }) => [data, padding(data.byteLength)]),
  ]);
}

interface Tensor {
  name: string;
  /** The fastest one first. */
  dims: readonly number[];
  type: number;
  data: Uint8Array;
}

function tensorsOf(format: LlamaFormat): Tensor[] {
  const { type, blockBytes, scale } = formats[format];
  const next = uniform(7);
  const noise = Uint8Array.from({ length: 65_521 }, () => Math.floor(256 * next()));
  const matrix = (name: string, outputs: number, inputs: number): Tensor => {
    const data = new Uint8Array(((outputs * inputs) / 32) * blockBytes);
    for (let at = 0; at < data.length; at += noise.length) data.set(noise.subarray(0, data.length - at), at);
    const view = new DataView(data.buffer);
    for (let at = 0; at < data.length; at += blockBytes) view.setUint16(at, f16(scale / Math.sqrt(inputs)), true);
    return { name: `${name}.weight`, dims: [inputs, outputs], type, data };
  };
  const norm = (name: string): Tensor => {
    const data = new Uint8Array(new Float32Array(width).fill(1).buffer);
    return { name: `${name}.weight`, dims: [width], type: f32Type, data };
  };
  const { vocabSize, width, mlpWidth, blocks, numHeads, numKvHeads } = llama;
  const kvWidth = (width / numHeads) * numKvHeads;
  const layers = Array.from({ length: blocks }, (_, i) => [
    norm(`blk.${i}.attn_norm`),
    matrix(`blk.${i}.attn_q`, width, width),
    matrix(`blk.${i}.attn_k`, kvWidth, width),
    matrix(`blk.${i}.attn_v`, kvWidth, width),
    matrix(`blk.${i}.attn_output`, width, width),
    norm(`blk.${i}.ffn_norm`),
    matrix(`blk.${i}.ffn_gate`, mlpWidth, width),
    matrix(`blk.${i}.ffn_up`, mlpWidth, width),
    matrix(`blk.${i}.ffn_down`, width, mlpWidth),
  ]);
  // Without an output.weight the head is the embedding, as in our model.
  return [matrix("token_embd", vocabSize, width), ...layers.flat(), norm("output_norm")];
}

function metadata(format: LlamaFormat): Uint8Array[] {
  const { vocabSize, width, mlpWidth, blocks, numHeads, numKvHeads } = llama;
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = Array.from({ length: vocabSize - 259 }, (_, i) => `w${i}`);
  // 2 is an unknown token, 3 a control one, 6 a byte, 1 a normal one.
  const types = [2, 3, 3, ...bytes.map(() => 6), ...words.map(() => 1)];
  const uint = (key: string, value: number) => Buffer.concat([string(key), u32(valueType.u32), u32(value)]);
  const name = (key: string, value: string) => Buffer.concat([string(key), u32(valueType.string), string(value)]);
  const list = (key: string, type: keyof typeof valueType, items: Uint8Array[]) =>
    Buffer.concat([string(key), u32(valueType.array), u32(valueType[type]), u64(items.length), ...items]);
  return [
    name("general.architecture", "llama"),
    uint("general.file_type", formats[format].fileType),
    uint("llama.context_length", contextLength),
    uint("llama.embedding_length", width),
    uint("llama.block_count", blocks),
    uint("llama.feed_forward_length", mlpWidth),
    uint("llama.attention.head_count", numHeads),
    uint("llama.attention.head_count_kv", numKvHeads),
    uint("llama.rope.dimension_count", width / numHeads),
    Buffer.concat([string("llama.attention.layer_norm_rms_epsilon"), u32(valueType.f32), f32(1e-6)]),
    name("tokenizer.ggml.model", "llama"),
    list("tokenizer.ggml.tokens", "string", ["<unk>", "<s>", "</s>", ...bytes, ...words].map(string)),
    list(
      "tokenizer.ggml.scores",
      "f32",
      types.map((_, i) => f32(-i)),
    ),
    list("tokenizer.ggml.token_type", "i32", types.map(u32)),
    uint("tokenizer.ggml.bos_token_id", 1),
    uint("tokenizer.ggml.eos_token_id", 2),
  ];
}

const text = (value: string) => new TextEncoder().encode(value);
const string = (value: string): Uint8Array => Buffer.concat([u64(text(value).byteLength), text(value)]);
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const f32 = (value: number) => new Uint8Array(Float32Array.of(value).buffer);
const padding = (bytes: number) => new Uint8Array((alignmentBytes - (bytes % alignmentBytes)) % alignmentBytes);

/** The bits of a small positive number as f16, rounded down. */
function f16(value: number): number {
  const [bits = 0] = new Uint32Array(Float32Array.of(value).buffer);
  return (((bits >>> 23) - 112) << 10) | ((bits >>> 13) & 0x3ff);
}
