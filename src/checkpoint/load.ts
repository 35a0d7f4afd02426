// Opens a checkpoint folder: manifest, graph and tokenizer at once, the weights as a stream that is read only once.
// Knows no place: `OpenFile` may read a disk, R2, static assets or a web server. Every byte is checked against model.json.
import { GriffinError } from "../errors.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import type { Config } from "../model/config.ts";
import { weightsFile } from "../model/graph.ts";
import { parseJson } from "../model/parse-json.ts";
import { type ElementType, type StoredSpec, storedSpecs, weightSpecs } from "../model/weights.ts";
import { type CreateHash, digestFile, type FileEntry, fileEntry } from "./hash.ts";
import { graphFile, type Manifest, manifestFile, parseManifest, tokenizerFile } from "./manifest.ts";
import { type Dtype, headerLength, headerLengthBytes, parseHeader, type SafetensorsHeader } from "./safetensors.ts";

/** Opens a file of the checkpoint folder for one reading; fails with `not_found` where there is none. */
export type OpenFile = (name: string) => Promise<ReadableStream<Uint8Array>>;

/** A run of one tensor's bytes, in order. Pieces may end in the middle of an element. */
export interface WeightPiece {
  name: string;
  dtype: ElementType;
  shape: readonly number[];
  /** Where in the tensor these bytes belong. */
  offsetBytes: number;
  /** A view of the stream's chunk: valid until the next piece is asked for. */
  bytes: Uint8Array;
}

/** An opened checkpoint. */
export interface Checkpoint {
  manifest: Manifest;
  config: Config;
  chat: ChatTokens | null;
  /** graph.onnx, its hash checked. */
  graph: Uint8Array;
  /** The value of tokenizer.json, its hash checked; null where the folder has none. */
  tokenizer: unknown;
  /** Every byte of every tensor once, from a fresh stream; the last step fails unless size and hash are right. */
  weights(): AsyncGenerator<WeightPiece, void, undefined>;
  /** weights.safetensors as it lies in the folder, header and all, its size and hash checked: for hosts that want it whole. */
  readWeights(): Promise<Uint8Array>;
}

const fileDtypes = { f32: "F32", bf16: "BF16", i8: "I8", i4: "U8" } as const satisfies Record<ElementType, Dtype>;

/** A tensor as safetensors describes it, which has no int4: two of them are a U8. */
export function fileTensor({ name, dtype, shape }: StoredSpec): { name: string; dtype: Dtype; shape: number[] } {
  const dims = shape.map((size, axis) => (dtype === "i4" && axis === shape.length - 1 ? size / 2 : size));
  return { name, dtype: fileDtypes[dtype], shape: dims };
}

interface Files {
  open: OpenFile;
  /** Called whenever something of a file came. */
  heard: (() => void) | undefined;
}

/** Opens a checkpoint folder. Errors name the file. `heard` is called whenever something of one came. */
export async function openCheckpoint(open: OpenFile, createHash?: CreateHash, heard?: () => void): Promise<Checkpoint> {
  const files = { open, heard };
  const text = decodeText(await readAll(files, manifestFile, manifestLimitBytes), manifestFile);
  const { manifest, config, chat } = parseManifest(text);
  const readChecked = async (name: string, entry: FileEntry) => {
    const bytes = await readAll(files, name, entry.bytes);
    checkEntry(name, fileEntry(bytes, createHash), entry);
    return bytes;
  };
  const graph = await readChecked(graphFile, manifest.files[graphFile]);
  const entry = manifest.files[tokenizerFile];
  const tokenizer =
    entry === undefined
      ? null
      : parseJson(
          decodeText(await readChecked(tokenizerFile, entry), tokenizerFile),
          tokenizerFile,
          "invalid_checkpoint",
        );
  const weights = () => streamWeights(files, manifest, config, createHash);
  const readWeights = () => readChecked(weightsFile, manifest.files[weightsFile]);
  return { manifest, config, chat, graph, tokenizer, weights, readWeights };
}

/** model.json is a few KB; nothing near this can be one. */
const manifestLimitBytes = 2 ** 20;

const bad = (message: string) => new GriffinError("invalid_checkpoint", message);

function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new GriffinError("invalid_checkpoint", `${name} is not UTF-8.`, { cause });
  }
}

function checkEntry(name: string, got: FileEntry, expected: FileEntry): void {
  if (got.bytes !== expected.bytes) {
    const kind = got.bytes < expected.bytes ? "truncated" : "too long";
    throw bad(`${name} is ${kind}: ${manifestFile} says ${expected.bytes} bytes, got ${got.bytes}.`);
  }
  if (got.sha256 !== expected.sha256) {
    throw new GriffinError(
      "hash_mismatch",
      `${name}: its SHA-256 is ${got.sha256}, ${manifestFile} says ${expected.sha256}. Convert or copy the checkpoint again.`,
    );
  }
}

/** Chunks of a file, each valid until the next one is asked for; the stream is let go of however the loop ends. */
async function* chunks({ open, heard }: Files, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = readerOf(await open(name));
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      heard?.();
      yield next.value;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // a stream that failed has already said why
  }
}

const bufferBytes = 2 ** 16;

/** Reads into one buffer again and again where the stream can do that: the chunks of large files would be as much garbage. */
function readerOf(
  stream: ReadableStream<Uint8Array>,
): Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel"> {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    return stream.getReader();
  }
  let buffer = new ArrayBuffer(bufferBytes);
  return {
    async read() {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done || value === undefined) return { done: true, value: undefined };
      ({ buffer } = value);
      return { done: false, value: new Uint8Array(buffer, value.byteOffset, value.byteLength) };
    },
    cancel: () => reader.cancel(),
  };
}

async function readAll(files: Files, name: string, limitBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks(files, name)) {
    parts.push(chunk.slice());
    bytes += chunk.byteLength;
    if (bytes > limitBytes) throw bad(`${name} is too long: expected at most ${limitBytes} bytes.`);
  }
  return join(parts, bytes);
}

function join(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.byteLength;
  }
  return whole;
}

async function* streamWeights(
  files: Files,
  manifest: Manifest,
  config: Config,
  createHash?: CreateHash,
): AsyncGenerator<WeightPiece, void, undefined> {
  const expected = manifest.files[weightsFile];
  const digest = digestFile(createHash);
  let head: Uint8Array = new Uint8Array();
  let tensors: StoredWeight[] | undefined;
  let index = 0;
  let offsetBytes = 0;
  let readBytes = 0;
  for await (const chunk of chunks(files, weightsFile)) {
    digest.update(chunk);
    readBytes += chunk.byteLength;
    if (readBytes > expected.bytes) {
      throw bad(`${weightsFile} is too long: ${manifestFile} says ${expected.bytes} bytes, got at least ${readBytes}.`);
    }
    let rest = chunk;
    if (tensors === undefined) {
      head = join([head, chunk], head.byteLength + chunk.byteLength);
      const header = wholeHeader(head, expected.bytes);
      if (header === undefined) continue;
      tensors = storedWeights(header, manifest, config);
      rest = head.subarray(header.dataStartBytes);
    }
    while (rest.byteLength > 0) {
      const tensor = tensors[index];
      if (tensor === undefined) throw bad(`${weightsFile} has bytes after its last tensor.`);
      const { lengthBytes, ...described } = tensor;
      const bytes = rest.subarray(0, lengthBytes - offsetBytes);
      yield { ...described, offsetBytes, bytes };
      rest = rest.subarray(bytes.byteLength);
      offsetBytes += bytes.byteLength;
      if (offsetBytes === lengthBytes) {
        index++;
        offsetBytes = 0;
      }
    }
  }
  checkEntry(weightsFile, digest.entry(), expected);
}

/** The header, once `head` holds all of it. */
function wholeHeader(head: Uint8Array, fileBytes: number): SafetensorsHeader | undefined {
  if (head.byteLength < headerLengthBytes) return undefined;
  const endBytes = headerLengthBytes + headerLength(head, fileBytes, weightsFile);
  if (head.byteLength < endBytes) return undefined;
  return parseHeader(head.subarray(headerLengthBytes, endBytes), fileBytes, weightsFile);
}

interface StoredWeight extends Omit<WeightPiece, "offsetBytes" | "bytes"> {
  lengthBytes: number;
}

/** The tensors in the order of their data: exactly those of the config, in the manifest's format, without holes. */
function storedWeights(header: SafetensorsHeader, manifest: Manifest, config: Config): StoredWeight[] {
  const specs = weightSpecs(config).flatMap((spec) => storedSpecs(spec, manifest.format));
  const expected = new Map(specs.map((spec) => [spec.name, spec]));
  let atBytes = 0;
  const stored = Array.from(header.tensors, ([name, entry]): StoredWeight => {
    const spec = expected.get(name);
    if (spec === undefined) throw bad(`${weightsFile}: the model has no tensor "${name}".`);
    const { dtype, shape } = fileTensor(spec);
    const want = `${dtype} [${shape.join(", ")}]`;
    const got = `${entry.dtype} [${entry.shape.join(", ")}]`;
    if (got !== want) throw bad(`${weightsFile}: tensor "${name}" must be ${want}, got ${got}.`);
    if (entry.beginBytes !== atBytes) throw bad(`${weightsFile}: there is a hole before tensor "${name}".`);
    atBytes = entry.endBytes;
    return { ...spec, lengthBytes: entry.endBytes - entry.beginBytes };
  });
  const missing = [...expected.keys()].find((name) => !header.tensors.has(name));
  if (missing !== undefined) throw bad(`${weightsFile}: tensor "${missing}" is missing.`);
  return stored;
}
