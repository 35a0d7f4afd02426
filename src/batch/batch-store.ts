// What a Batch object keeps. Row writes are the bill, and every line must have exactly one result through crashes:
// - The input is not copied. The plan, four numbers a stretch, is one value.
// - Results of a stretch are one row, written when the stretch is over (or after some seconds, for slow models): a run
//   that breaks off before that runs again, and only what was not kept. A row names its lines, so that which lines are
//   done is never a second fact beside it; of a line that is done, a second result is dropped in the same transaction.
// - A stretch that is begun writes one row, a strike of its first line: taken back by nobody, it is the trace that a
//   process which died with it leaves. So 8 lines are 2 rows, and 50 000 lines 12 500.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { Database, valueLimitBytes } from "../conversation/database.ts";
import type { Notice } from "../outbox/protocol.ts";
import { packStretches, unpackStretches, type Stretch } from "./plan.ts";
import type { BatchView, LineResult, NewBatch, ResultKind } from "./protocol.ts";

const schema = [
  // lines: JSON, those whose result begins in this row; a row's bytes may end anywhere, those after it go on.
  `CREATE TABLE IF NOT EXISTS results (
    result INTEGER PRIMARY KEY, kind TEXT NOT NULL, lines TEXT NOT NULL, bytes BLOB NOT NULL
  ) STRICT`,
  // again_ms: until then the line waits.
  `CREATE TABLE IF NOT EXISTS strikes (
    line INTEGER PRIMARY KEY, count INTEGER NOT NULL, again_ms INTEGER NOT NULL
  ) STRICT`,
];

/** A batch as it is stored: with what only the server needs. */
export interface StoredBatch extends Omit<BatchView, "outputFile" | "errorFile">, NewBatch {
  /** In the bucket; null until the registry was told of the batch. */
  inputKey: string | null;
  /** What becomes of it when what is finished has been written. */
  endsAs: "completed" | "expired" | "cancelled";
  /** Of the step that it is in. */
  attempts: number;
  /** What is still to be told of its end. */
  notice: Notice | null;
  /** Whether the registry knows that it is over. */
  isReleased: boolean;
}

const batchKey = "batch";
const planKey = "plan";
const utf8 = new TextEncoder();

export class BatchStore {
  readonly #storage: DurableObjectStorage;
  readonly #database: Database;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#database = new Database(storage);
  }

  /** Rows and bytes written since the object woke, without the batch itself. */
  get written() {
    return this.#database.written;
  }

  transaction<T>(run: () => T): T {
    return this.#database.transaction(run);
  }

  /** There is a batch from now on. Objects that were only asked for have no tables. */
  begin(batch: StoredBatch): void {
    for (const statement of schema) this.#storage.sql.exec(statement);
    this.batch = batch;
  }

  get batch(): StoredBatch | undefined {
    return this.#storage.kv.get<StoredBatch>(batchKey);
  }

  set batch(batch: StoredBatch) {
    this.#storage.kv.put(batchKey, batch);
  }

  get stretches(): Stretch[] {
    const packed = this.#storage.kv.get<Float64Array>(planKey);
    return packed === undefined ? [] : unpackStretches(packed);
  }

  set stretches(stretches: readonly Stretch[]) {
    this.#storage.kv.put(planKey, packStretches(stretches));
  }

  /** Keeps results of one kind. */
  insertResults(kind: ResultKind, results: readonly LineResult[]): void {
    const bytes = utf8.encode(results.map(({ text }) => text).join(""));
    const lines = JSON.stringify(results.map(({ line }) => line));
    for (let from = 0; from < bytes.byteLength; from += valueLimitBytes) {
      const piece = bytes.subarray(from, from + valueLimitBytes);
      const insert = "INSERT INTO results (kind, lines, bytes) VALUES (?, ?, ?)";
      this.#database.write("results", insert, kind, from === 0 ? lines : "[]", piece);
    }
  }

  /** The lines that have a result, and of which kind. */
  settledLines(): { kind: ResultKind; lines: number[] }[] {
    return this.#database
      .read<{ kind: string; lines: string }>("SELECT kind, lines FROM results ORDER BY result")
      .map(({ kind, lines }) => ({ kind: kind === "output" ? "output" : "errors", lines: JSON.parse(lines) }));
  }

  /** The bytes of all results of a kind, in order. */
  *resultBytes(kind: ResultKind): Generator<Uint8Array> {
    for (let after = 0; ;) {
      const query = "SELECT result, bytes FROM results WHERE kind = ? AND result > ? ORDER BY result LIMIT 1";
      const [row] = this.#database.read<{ result: number; bytes: ArrayBuffer }>(query, kind, after);
      if (row === undefined) return;
      yield new Uint8Array(row.bytes);
      after = row.result;
    }
  }

  /** How often a run had to be given up with a line to blame. */
  strikes(line: number): number {
    return this.#database.read<{ count: number }>("SELECT count FROM strikes WHERE line = ?", line)[0]?.count ?? 0;
  }

  setStrikes(line: number, count: number, againMs = 0): void {
    const upsert = `INSERT INTO strikes VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET count = excluded.count, again_ms = excluded.again_ms`;
    this.#database.write("strikes", upsert, line, count, againMs);
  }

  /** Lines that are to be tried again, but not yet: until when. */
  waiting(nowMs: number): { line: number; again_ms: number }[] {
    return this.#database.read("SELECT line, again_ms FROM strikes WHERE again_ms > ?", nowMs);
  }

  /** Nothing of what lines were answered stays. */
  deleteResults(): void {
    this.#database.write("results", "DELETE FROM results");
    this.#database.write("strikes", "DELETE FROM strikes");
    this.#storage.kv.delete(planKey);
  }
}
