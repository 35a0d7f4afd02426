// A form with one file in it (multipart/form-data), read while it comes: the runtime's own `formData()` would hold all of
// it in memory, which is as large as an isolate may be. What is wrong with a form is told when it is at its end, for its
// sender reads no answer before.
import type { HonoRequest } from "hono";
import { decodeField, make, type Parser } from "multipasta";
import { GriffinError } from "../errors.ts";
import { left } from "./read-body.ts";

/** The most of a form beside its file: its other fields, and what stands between them. */
const mostBesideBytes = 2 ** 16;
const mostParts = 16;

export interface Form {
  /** Names as in the form: `expires_after[seconds]`. */
  fields: Record<string, string>;
  /** null: it has no file. */
  fileName: string | null;
}

/**
 * Reads a form; the bytes of the part `file` go to `write` as they come. Throws `body_too_large` where the file has more
 * than `mostFileBytes`, and `invalid_argument` where it is no form.
 */
export async function readForm(
  { raw }: HonoRequest,
  mostFileBytes: number,
  write: (piece: Uint8Array) => Promise<void>,
): Promise<Form> {
  const parser = new FormParser(raw.headers, mostFileBytes);
  let discardedBytes = 0;
  for await (const piece of piecesOf(raw)) {
    if (parser.fault === null) for (const bytes of parser.push(piece)) await write(bytes);
    // Its sender reads the answer when all is sent; what is far too much is cut off.
    else if ((discardedBytes += piece.byteLength) > 2 * mostFileBytes) break;
  }
  return parser.end();
}

/** The pieces of a body. Throws `cancelled` where its sender goes away. */
async function* piecesOf({ body }: Request): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of body ?? []) yield piece;
  } catch (cause) {
    throw left(cause);
  }
}

class FormParser {
  /** Why this is no form to be read on; null where nothing is wrong so far. */
  fault: GriffinError | null = null;
  readonly #form: Form = { fields: {}, fileName: null };
  readonly #parser: Parser;
  /** Of the file, not yet given on. */
  #pieces: Uint8Array[] = [];
  #fileBytes = 0;

  constructor(headers: Headers, mostFileBytes: number) {
    if (Number(headers.get("content-length") ?? 0) > mostFileBytes + mostBesideBytes) this.#tooLarge(mostFileBytes);
    this.#parser = make({
      headers: { "content-type": headers.get("content-type") ?? "" },
      maxParts: mostParts,
      maxFieldSize: mostBesideBytes,
      isFile: ({ name }) => name === "file",
      onField: (info, value) => void (this.#form.fields[info.name] = decodeField(info, value)),
      onFile: ({ filename }) => {
        if (this.#form.fileName !== null) this.#wrong("expected one file");
        this.#form.fileName = filename || "upload.jsonl";
        return (piece) => {
          if (piece === null) return;
          this.#fileBytes += piece.byteLength;
          if (this.#fileBytes > mostFileBytes) this.#tooLarge(mostFileBytes);
          else this.#pieces.push(piece);
        };
      },
      onError: ({ _tag: what }) =>
        this.#wrong(what === "InvalidBoundary" ? "expected multipart/form-data, with its boundary" : "it is malformed"),
      onDone: () => undefined,
    });
  }

  /** What of the file ends in the next piece of the form. */
  push(piece: Uint8Array): Uint8Array[] {
    this.#attempt(() => this.#parser.write(piece));
    const pieces = this.#pieces;
    this.#pieces = [];
    return this.fault === null ? pieces : [];
  }

  end(): Form {
    if (this.fault === null) this.#attempt(() => this.#parser.end());
    if (this.fault !== null) throw this.fault;
    return this.#form;
  }

  /** The parser throws at names that are no UTF-8. */
  #attempt(parse: () => void): void {
    try {
      parse();
    } catch {
      this.#wrong("it is malformed");
    }
  }

  #wrong(what: string): void {
    this.fault ??= new GriffinError("invalid_argument", `The form: ${what}.`);
  }

  #tooLarge(mostFileBytes: number): void {
    this.fault ??= new GriffinError("body_too_large", `A file may have at most ${mostFileBytes} bytes.`);
  }
}
