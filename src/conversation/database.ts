// Database: the one way to an object's SQLite. It knows no table: it counts what is written, row for row as it is
// billed, and refuses a row that the hosted service would refuse (2 MB there; local runtimes let more pass).
import type { DurableObjectStorage, SqlStorageValue } from "@cloudflare/workers-types";
import { GriffinError } from "../errors.ts";

/** The most bytes of one value: a part, a page. */
export const valueLimitBytes = 2 ** 20;
/** The most bytes of one row: a value, and the small columns beside it. */
const rowLimitBytes = valueLimitBytes + 2 ** 16;

/** What a column may hold. */
export type Value = string | number | null | Uint8Array;
type Row = Record<string, SqlStorageValue>;

/** Rows, those of indexes and deleted ones included, and bytes of values. */
export interface Written {
  rows: number;
  bytes: number;
}

/** The SQL of an object's storage, counted and limited. */
export class Database {
  readonly #storage: DurableObjectStorage;
  #rows = 0;
  #bytes = 0;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** What was written since this object was made. */
  get written(): Written {
    return { rows: this.#rows, bytes: this.#bytes };
  }

  read<T extends Row>(query: string, ...values: Value[]): T[] {
    return this.#storage.sql.exec<T>(query, ...values).toArray();
  }

  /** Runs a statement that writes; `row` names what it writes in the error about a row that is too large. */
  write<T extends Row>(row: string, query: string, ...values: Value[]): T[] {
    const bytes = sizeBytes(values);
    if (bytes > rowLimitBytes) {
      throw new GriffinError(
        "internal",
        `The row of ${row} has ${bytes} bytes; a row may have ${rowLimitBytes}. It should have been split into parts.`,
      );
    }
    const cursor = this.#storage.sql.exec<T>(query, ...values);
    const rows = cursor.toArray();
    this.#rows += cursor.rowsWritten;
    this.#bytes += bytes;
    return rows;
  }

  /** Resolves when all that was written outlives this process. */
  synced(): Promise<void> {
    return this.#storage.sync();
  }

  /** All or nothing: what `run` wrote is undone when it throws. */
  transaction<T>(run: () => T): T {
    return this.#storage.transactionSync(run);
  }
}

const encoder = new TextEncoder();

/** Bytes of a row's values. SQLite's own sizes vary with the value; here a number counts as 8. */
export function sizeBytes(values: readonly Value[]): number {
  return values.reduce<number>((sum, value) => {
    if (value === null) return sum;
    if (typeof value === "number") return sum + 8;
    return sum + (typeof value === "string" ? encoder.encode(value).byteLength : value.byteLength);
  }, 0);
}
