// Values of any length in rows of at most 1 MiB. A short value stays in its turn's own row; a long one is split into
// rows of `parts` and the turn's column is NULL. Tokens are u32 little-endian behind a CRC-32: a wrong one would make
// a wrong state when the state is computed again.
import { GriffinError } from "../errors.ts";
import { crc32 } from "./checksum.ts";
import { type Database, valueLimitBytes } from "./database.ts";

/** What a value in parts is to its turn. */
export type PartKind = "messages" | "reply" | "prompt_tokens" | "reply_tokens" | "log_probabilities" | "snapshot";

/** Four values in a turn's row stay far below a row's limit, and rewriting them with it costs little. */
const inlineLimitBytes = 2 ** 16;

/** The bytes for the turn's own row, or null after writing them as parts. */
export function keepValue(db: Database, turn: number, kind: PartKind, bytes: Uint8Array): Uint8Array | null {
  if (bytes.byteLength <= inlineLimitBytes) return bytes;
  writeParts(db, turn, kind, bytes);
  return null;
}

/** The value that `keepValue` kept. */
export function keptValue(db: Database, turn: number, kind: PartKind, inline: ArrayBuffer | null): Uint8Array {
  return inline === null ? readParts(db, turn, kind) : new Uint8Array(inline);
}

/** Splits bytes into rows; no bytes are no row. */
export function writeParts(db: Database, turn: number, kind: PartKind, bytes: Uint8Array): void {
  for (let part = 0; part * valueLimitBytes < bytes.byteLength; part++) {
    db.write(
      `turn ${turn}, ${kind}, part ${part}`,
      "INSERT INTO parts (turn, kind, part, bytes) VALUES (?, ?, ?, ?)",
      turn,
      kind,
      part,
      bytes.subarray(part * valueLimitBytes, (part + 1) * valueLimitBytes),
    );
  }
}

/** All parts put together. Whether that is what was written is for the reader to check. */
export function readParts(db: Database, turn: number, kind: PartKind): Uint8Array<ArrayBuffer> {
  const rows = db.read<{ bytes: ArrayBuffer }>(
    "SELECT bytes FROM parts WHERE turn = ? AND kind = ? ORDER BY part",
    turn,
    kind,
  );
  const joined = new Uint8Array(rows.reduce((sum, { bytes }) => sum + bytes.byteLength, 0));
  let offset = 0;
  for (const { bytes } of rows) {
    joined.set(new Uint8Array(bytes), offset);
    offset += bytes.byteLength;
  }
  return joined;
}

/** CRC-32 and tokens, as u32 little-endian. */
export function packTokens(tokens: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * (1 + tokens.length));
  const view = new DataView(bytes.buffer);
  tokens.forEach((token, i) => view.setUint32(4 + 4 * i, token, true));
  view.setUint32(0, crc32(bytes.subarray(4)), true);
  return bytes;
}

/** The tokens that were packed; null where the bytes are damaged. */
export function unpackTokens(bytes: Uint8Array): number[] | null {
  if (bytes.byteLength < 4 || bytes.byteLength % 4 !== 0) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== crc32(bytes.subarray(4))) return null;
  return Array.from({ length: bytes.byteLength / 4 - 1 }, (_, i) => view.getUint32(4 + 4 * i, true));
}

export const isDamage = (error: unknown): error is GriffinError =>
  error instanceof GriffinError && error.code === "data_damaged";

/** What `ask` gives; null where that is damaged. */
export function orDamaged<T>(ask: () => T): T | null {
  try {
    return ask();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return null;
  }
}

/** Says which value of which turn cannot be read. */
export function damaged(
  turn: number,
  kind: PartKind | "options" | "metadata" | "removed_items",
  cause?: unknown,
): GriffinError {
  return new GriffinError(
    "data_damaged",
    `The stored ${kind} of turn ${turn} is damaged: its bytes are not the ones that were written. Remove the turn.`,
    { cause },
  );
}
