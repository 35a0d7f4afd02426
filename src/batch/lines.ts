// An input file line by line, whatever pieces it comes in. Blank lines are none, but they count where a line is told by its
// number in the file, as an editor shows it. A line that is
// longer than any request may be is told by its length alone, so that nothing grows in memory.
import type { Endpoint, Fault } from "./protocol.ts";

/** Of a line: the largest body of a request, and what stands around it. */
export const mostLineBytes = 2 ** 20 + 2 ** 12;
export const mostCustomIdCharacters = 256;

const lineBreak = 10;
const utf8 = new TextDecoder("utf-8", { fatal: true });

export interface Line {
  /** Of its first byte in the file. */
  offset: number;
  /** In what was read: 1, 2, 3, … with the blank ones. */
  number: number;
  /** Without the line break. */
  length: number;
  /** null: too long. */
  bytes: Uint8Array | null;
}

/** Cuts pieces of a file into lines. */
export class LineReader {
  readonly #mostBytes: number;
  /** Of the line that has begun. */
  #pieces: Uint8Array[] = [];
  #length = 0;
  #offset: number;
  #number = 0;

  /** `offset`: where in the file the pieces begin, at the beginning of a line. */
  constructor(offset = 0, mostBytes = mostLineBytes) {
    this.#offset = offset;
    this.#mostBytes = mostBytes;
  }

  /** The lines that end in the next piece. */
  *push(piece: Uint8Array): Generator<Line> {
    let from = 0;
    for (let at = piece.indexOf(lineBreak); at >= 0; at = piece.indexOf(lineBreak, from)) {
      this.#add(piece.subarray(from, at));
      from = at + 1;
      yield* this.#take(1);
    }
    this.#add(piece.subarray(from));
  }

  /** The line that no break ended, if there is one. */
  end(): Generator<Line> {
    return this.#take(0);
  }

  #add(bytes: Uint8Array): void {
    this.#length += bytes.byteLength;
    if (this.#length > this.#mostBytes) this.#pieces = [];
    else if (bytes.byteLength > 0) this.#pieces.push(bytes.slice());
  }

  *#take(breakBytes: number): Generator<Line> {
    const line = { offset: this.#offset, number: ++this.#number, length: this.#length };
    const bytes = this.#length > this.#mostBytes ? null : joined(this.#pieces, this.#length);
    this.#offset += this.#length + breakBytes;
    this.#pieces = [];
    this.#length = 0;
    if (bytes === null || !bytes.every(isBlank)) yield { ...line, bytes };
  }
}

/** The lines of a part of a file that begins and ends with a line. */
export function* linesOf(bytes: Uint8Array, offset = 0): Generator<Line> {
  const reader = new LineReader(offset);
  yield* reader.push(bytes);
  yield* reader.end();
}

/** Space, tabulator, carriage return: what JSON skips. */
const isBlank = (byte: number) => byte === 32 || byte === 9 || byte === 13;

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

/** A request of a line, or why it is none; the id as far as there is one. */
export type LineRequest =
  | { customId: string; body: Record<string, unknown>; fault: null }
  | { customId: string | null; fault: Omit<Fault, "line"> };

/** Reads a line. What its body says is for the endpoint to judge. */
export function requestOf({ bytes }: Line, endpoint: Endpoint): LineRequest {
  if (bytes === null) return wrong(null, "line_too_long", `A line may have ${mostLineBytes} bytes.`);
  const line = objectOf(bytes);
  if (line === null) return wrong(null, "invalid_json_line", "This line is not a JSON object.");
  const { custom_id: id, method, url, body } = line;
  if (typeof id !== "string" || id === "" || id.length > mostCustomIdCharacters) {
    const expected = `expected a text of 1 to ${mostCustomIdCharacters} characters`;
    return wrong(null, "missing_required_parameter", `custom_id: ${expected}.`, "custom_id");
  }
  if (method !== "POST") return wrong(id, "invalid_method", "method: expected POST.", "method");
  if (url !== endpoint) return wrong(id, "invalid_url", `url: expected ${endpoint}, as the batch says.`, "url");
  if (!isObject(body)) return wrong(id, "missing_required_parameter", "body: expected an object.", "body");
  for (const field of ["stream", "background"]) {
    if (body[field] === true) return wrong(id, "unsupported", "A line waits for its whole answer.", `body.${field}`);
  }
  return { customId: id, body, fault: null };
}

const wrong = (customId: string | null, code: string, message: string, param: string | null = null) => ({
  customId,
  fault: { code, message, param },
});

function objectOf(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(utf8.decode(bytes));
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
