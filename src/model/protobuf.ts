// A protobuf codec driven by a table: messages are plain objects, and only fields that are on the wire are in the object.
// Fields that the table does not name are kept byte for byte in `unknownFields` and written back after the known ones.
// It generates no code (workerd forbids that) and trusts no byte: every length is checked before it is used.
// Wire format: https://protobuf.dev/programming-guides/encoding/
import { GriffinError } from "../errors.ts";

/** A scalar type, or the name of a message of the same schema. */
type Type = "int64" | "float" | "string" | "bytes" | (string & {});
/** A field's number and its type; a type in brackets is a repeated field. */
export type Field = readonly [id: number, type: Type | readonly [Type]];
export type Schema = Readonly<Record<string, Readonly<Record<string, Field>>>>;

type ValueOf<S extends Schema, T> = T extends readonly [infer E]
  ? ValueOf<S, E>[]
  : T extends "int64" | "float"
    ? number
    : T extends "string"
      ? string
      : T extends "bytes"
        ? Uint8Array
        : T extends keyof S
          ? Message<S, T>
          : never;

/** The object of one message of a schema. int64 values are safe integers. */
export type Message<S extends Schema, M extends keyof S> = {
  -readonly [F in keyof S[M]]?: ValueOf<S, S[M][F][1]>;
} & { unknownFields?: Uint8Array };

const varintWire = 0;
const fixed64Wire = 1;
const bytesWire = 2;
const fixed32Wire = 5;
/** protobuf's own default; deeper nesting is an attack on the stack. */
const maxDepth = 100;
const maxFieldId = 2 ** 29 - 1;

const wireOf = (type: Type) => (type === "int64" ? varintWire : type === "float" ? fixed32Wire : bytesWire);

/** Reads one message. Throws `invalid_graph` for bytes that are not one, saying where. */
export function decode<S extends Schema, M extends keyof S & string>(
  schema: S,
  name: M,
  bytes: Uint8Array,
): Message<S, M> {
  return new Decoder(schema, name, bytes).message(name, bytes.length) as Message<S, M>;
}

class Decoder {
  readonly #schema: Schema;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** The fields that lead to where we are, for errors. */
  readonly #path: string[];
  #at = 0;

  constructor(schema: Schema, name: string, bytes: Uint8Array) {
    this.#schema = schema;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#path = [name];
  }

  /** The message that ends at byte `end`. */
  message(name: string, end: number): object {
    if (this.#path.length > maxDepth) this.#fail(`messages are nested more than ${maxDepth} deep`);
    const fields = fieldsById(this.#schema, name);
    const message: Record<string, unknown> = {};
    const unknown: Uint8Array[] = [];
    while (this.#at < end) {
      const start = this.#at;
      const tag = this.#varint(end);
      const wire = Number(tag & 7n);
      const id = Number(tag >> 3n);
      if (id === 0 || id > maxFieldId) this.#fail(`${id} is not a field number`);
      const field = fields.get(id);
      if (field === undefined) {
        this.#skip(wire, end);
        unknown.push(this.#bytes.subarray(start, this.#at));
        continue;
      }
      const [key, type, repeated] = field;
      const list = repeated ? ((message[key] ?? []) as unknown[]) : [];
      this.#path.push(repeated ? `${key}[${list.length}]` : key);
      if (!repeated && message[key] !== undefined) this.#fail("the field appears twice");
      const packed = repeated && wire === bytesWire && wireOf(type) !== bytesWire;
      if (packed) {
        const packedEnd = this.#lengthEnd(end);
        while (this.#at < packedEnd) list.push(this.#value(type, wireOf(type), packedEnd));
      } else list.push(this.#value(type, wire, end));
      if (list.length > 0) message[key] = repeated ? list : list[0];
      this.#path.pop();
    }
    if (unknown.length > 0) message.unknownFields = concat(unknown);
    return message;
  }

  #value(type: Type, wire: number, end: number): unknown {
    if (wire !== wireOf(type)) this.#fail(`expected wire type ${wireOf(type)}, got ${wire}`);
    if (type === "int64") {
      const value = Number(BigInt.asIntN(64, this.#varint(end)));
      if (!Number.isSafeInteger(value)) this.#fail(`the integer ${value} is beyond 2^53`);
      return value;
    }
    if (type === "float") return this.#view.getFloat32(this.#advance(4, end), true);
    const valueEnd = this.#lengthEnd(end);
    if (type !== "bytes" && type !== "string") return this.message(type, valueEnd);
    const bytes = this.#bytes.subarray(this.#at, valueEnd);
    if (type === "string") return this.#string(bytes, valueEnd);
    this.#at = valueEnd;
    return bytes;
  }

  #string(bytes: Uint8Array, end: number): string {
    try {
      const value = this.#text.decode(bytes);
      this.#at = end;
      return value;
    } catch {
      return this.#fail("the text is not UTF-8");
    }
  }

  #varint(end: number): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#view.getUint8(this.#advance(1, end));
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    return this.#fail("an integer is longer than ten bytes");
  }

  /** Reads a length and gives the position where what it measures ends. */
  #lengthEnd(end: number): number {
    const length = this.#varint(end);
    if (length > BigInt(end - this.#at)) this.#fail(`a length of ${length} bytes runs past the end at byte ${end}`);
    return this.#at + Number(length);
  }

  #skip(wire: number, end: number): void {
    if (wire === varintWire) this.#varint(end);
    else if (wire === bytesWire) this.#at = this.#lengthEnd(end);
    else if (wire === fixed64Wire) this.#advance(8, end);
    else if (wire === fixed32Wire) this.#advance(4, end);
    else this.#fail(`wire type ${wire} is not supported`);
  }

  /** Moves past `count` bytes and gives the position of the first. */
  #advance(count: number, end: number): number {
    if (end - this.#at < count) this.#fail(`the message ends at byte ${end} in the middle of a field`);
    this.#at += count;
    return this.#at - count;
  }

  #fail(what: string): never {
    throw new GriffinError(
      "invalid_graph",
      `${this.#path.join(".")}, byte ${this.#at} of ${this.#bytes.length}: ${what}. The file is damaged or is not ONNX.`,
    );
  }
}

const indexes = new WeakMap<object, Map<number, readonly [key: string, type: Type, repeated: boolean]>>();

function fieldsById(schema: Schema, name: string) {
  const fields = schema[name];
  if (fields === undefined) throw new GriffinError("internal", `The schema has no message "${name}".`);
  let index = indexes.get(fields);
  if (index === undefined) {
    index = new Map();
    for (const [key, [id, type]] of Object.entries(fields)) {
      index.set(id, typeof type === "string" ? [key, type, false] : [key, type[0], true]);
    }
    indexes.set(fields, index);
  }
  return index;
}

/** Writes one message: the fields in the order of the table, then the unknown ones. */
export function encode<S extends Schema, M extends keyof S & string>(
  schema: S,
  name: M,
  message: Message<S, M>,
): Uint8Array<ArrayBuffer> {
  return encodeMessage(schema, name, message);
}

function encodeMessage(schema: Schema, name: string, message: object): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const values = message as Readonly<Record<string, unknown>>;
  for (const [id, [key, type, repeated]] of fieldsById(schema, name)) {
    const value = values[key];
    if (value === undefined) continue;
    const tag = varint((id << 3) | wireOf(type));
    for (const item of repeated ? (value as unknown[]) : [value]) {
      parts.push(tag);
      if (type === "int64") parts.push(varint(item as number));
      else if (type === "float") parts.push(new Uint8Array(Float32Array.of(item as number).buffer));
      else {
        const bytes =
          type === "string"
            ? new TextEncoder().encode(item as string)
            : type === "bytes"
              ? (item as Uint8Array)
              : encodeMessage(schema, type, item as object);
        parts.push(varint(bytes.length), bytes);
      }
    }
  }
  if (values.unknownFields !== undefined) parts.push(values.unknownFields as Uint8Array);
  return concat(parts);
}

function varint(value: number): Uint8Array {
  if (!Number.isSafeInteger(value)) {
    throw new GriffinError("invalid_graph", `An integer of a graph must be safe, got ${value}.`);
  }
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
