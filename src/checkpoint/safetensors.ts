// The safetensors header: u64 length, JSON, then the tensors' data, little-endian and row-major.
// Reads and writes headers only; nobody here holds a tensor. Truth: https://github.com/huggingface/safetensors#format
import { GriffinError } from "../errors.ts";
import { parseJson } from "../model/parse-json.ts";

/** Bytes of one element, for the dtypes with whole bytes. */
export const dtypeBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;
export type Dtype = keyof typeof dtypeBytes;

/** Where one tensor lies: bytes from the start of the data section. */
export interface TensorEntry {
  dtype: Dtype;
  shape: readonly number[];
  beginBytes: number;
  endBytes: number;
}

export interface SafetensorsHeader {
  /** In the order of their data. */
  tensors: ReadonlyMap<string, TensorEntry>;
  /** Where the data section begins in the file. */
  dataStartBytes: number;
  metadata: Readonly<Record<string, string>>;
}

/** Bytes of the length that opens a file. */
export const headerLengthBytes = 8;
/** The reference implementation refuses longer headers too. */
const headerLimitBytes = 100_000_000;

const bad = (file: string, message: string) => new GriffinError("invalid_checkpoint", `${file}: ${message}`);

/** The header's length, from a file's first eight bytes; `fileBytes` is the size of the whole file. */
export function headerLength(bytes: Uint8Array, fileBytes: number, file: string): number {
  if (bytes.byteLength < headerLengthBytes) {
    throw bad(file, `truncated: expected at least ${headerLengthBytes} bytes, got ${bytes.byteLength}.`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, headerLengthBytes).getBigUint64(0, true);
  if (length > headerLimitBytes) {
    throw bad(file, `the header claims ${length} bytes, more than ${headerLimitBytes}; this is no safetensors file.`);
  }
  if (headerLengthBytes + Number(length) > fileBytes) {
    throw bad(
      file,
      `truncated: its header ends at byte ${headerLengthBytes + Number(length)}, the file at ${fileBytes}.`,
    );
  }
  return Number(length);
}

/** The header in `json`, the bytes after the length. Tensors may be listed in any order and leave holes, never overlap. */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch (cause) {
    throw new GriffinError("invalid_checkpoint", `${file}: the header is not UTF-8.`, { cause });
  }
  const value = parseJson(text, `${file}: the header`, "invalid_checkpoint");
  if (!isRecord(value)) throw bad(file, "the header is not a JSON object.");
  const twice = duplicateKey(text);
  if (twice !== undefined) throw bad(file, `the header names ${JSON.stringify(twice)} twice.`);

  const dataStartBytes = headerLengthBytes + json.byteLength;
  const dataBytes = fileBytes - dataStartBytes;
  const { __metadata__: metadata, ...described } = value;
  const tensors = Object.entries(described)
    .map(([name, entry]) => [name, parseEntry(entry, dataBytes, `tensor "${name}"`, file)] as const)
    .sort(([, a], [, b]) => a.beginBytes - b.beginBytes || a.endBytes - b.endBytes);
  tensors.forEach(([name, entry], i) => {
    const before = tensors[i - 1];
    if (before && before[1].endBytes > entry.beginBytes) {
      throw bad(file, `tensor "${name}" overlaps tensor "${before[0]}" at byte ${entry.beginBytes} of the data.`);
    }
  });
  return { tensors: new Map(tensors), dataStartBytes, metadata: parseMetadata(metadata, file) };
}

/** The first bytes of a file that holds `tensors` in this order without holes; the data that follows is 8-byte aligned. */
export function encodeHeader(
  tensors: readonly { name: string; dtype: Dtype; shape: readonly number[] }[],
  metadata: Readonly<Record<string, string>> = {},
): { bytes: Uint8Array<ArrayBuffer>; header: SafetensorsHeader; fileBytes: number } {
  let offsetBytes = 0;
  const entries = tensors.map(({ name, dtype, shape }): [string, TensorEntry] => {
    const beginBytes = offsetBytes;
    offsetBytes += shape.reduce((product, dim) => product * dim, dtypeBytes[dtype]);
    return [name, { dtype, shape, beginBytes, endBytes: offsetBytes }];
  });
  const described = entries.map(([name, { dtype, shape, beginBytes, endBytes }]): [string, object] => [
    name,
    { dtype, shape, data_offsets: [beginBytes, endBytes] },
  ]);
  const first: [string, object][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries([...first, ...described])));
  const paddedBytes = Math.ceil(json.byteLength / 8) * 8;
  const bytes = new Uint8Array(headerLengthBytes + paddedBytes).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(paddedBytes), true);
  bytes.set(json, headerLengthBytes);
  const header = { tensors: new Map(entries), dataStartBytes: bytes.byteLength, metadata };
  return { bytes, header, fileBytes: bytes.byteLength + offsetBytes };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

const isDtype = (value: unknown): value is Dtype => typeof value === "string" && Object.hasOwn(dtypeBytes, value);

function parseEntry(entry: unknown, dataBytes: number, name: string, file: string): TensorEntry {
  if (!isRecord(entry)) throw bad(file, `${name} is not described by an object.`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) {
    throw bad(
      file,
      `${name}: dtype must be one of ${Object.keys(dtypeBytes).join(", ")}; got ${JSON.stringify(dtype)}.`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw bad(file, `${name}: shape must be a list of sizes, got ${JSON.stringify(shape)}.`);
  }
  const [beginBytes, endBytes, more]: unknown[] = Array.isArray(offsets) ? offsets : [];
  if (!isCount(beginBytes) || !isCount(endBytes) || more !== undefined || beginBytes > endBytes) {
    throw bad(file, `${name}: data_offsets must be [begin, end], got ${JSON.stringify(offsets)}.`);
  }
  if (endBytes > dataBytes) {
    throw bad(file, `truncated: ${name} ends at byte ${endBytes} of the data, which has ${dataBytes}.`);
  }
  const expected = shape.reduce((product, dim) => product * dim, dtypeBytes[dtype]);
  if (expected !== endBytes - beginBytes) {
    throw bad(
      file,
      `${name}: ${dtype} [${shape.join(", ")}] takes ${expected} bytes, but its data_offsets span ${endBytes - beginBytes}.`,
    );
  }
  return { dtype, shape, beginBytes, endBytes };
}

function parseMetadata(metadata: unknown, file: string): Record<string, string> {
  if (metadata === undefined) return {};
  if (!isRecord(metadata)) throw bad(file, "__metadata__ is not a JSON object.");
  const strings: [string, string][] = Object.entries(metadata).map(([key, value]) => {
    if (typeof value !== "string")
      throw bad(file, `__metadata__ "${key}" must be a string, got ${JSON.stringify(value)}.`);
    return [key, value];
  });
  return Object.fromEntries(strings);
}

/** A key that an object of valid JSON `text` has twice; JSON.parse would silently keep the last. */
function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (const [token, string, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (string !== undefined && colon !== undefined) {
      const key = String(JSON.parse(string));
      if (open.at(-1)?.has(key)) return key;
      open.at(-1)?.add(key);
    }
  }
  return undefined;
}
