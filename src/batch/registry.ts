// BatchRegistry: the Durable Object that knows a tenant's files and which batches there are. It holds ids and metadata;
// what a file contains is in R2 under the key that stands here, and goes before its row does: nothing is in the bucket
// that nobody knows of.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { Alarm } from "../conversation/alarm.ts";
import { Database } from "../conversation/database.ts";
import { GriffinError } from "../errors.ts";
import type { BatchEnv, FileBucket } from "./env.ts";
import type { FileView, Purpose } from "./protocol.ts";

/** An upload that takes longer was broken off. */
const uploadMs = 24 * 3_600_000;
/** When a file that cannot be deleted now is tried again. */
const againMs = 10 * 60_000;

const schema = [
  // state: uploading, there, leaving
  `CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, expires_ms INTEGER, state TEXT NOT NULL
  ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, input_file TEXT NOT NULL, is_open INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`,
];

interface FileRow extends Record<string, string | number | null> {
  id: string;
  key: string;
  name: string;
  purpose: string;
  bytes: number;
  created_ms: number;
  expires_ms: number | null;
  state: string;
}

export interface Listing {
  /** Id of the one before the first. */
  after: string | null;
  limit: number;
  order: "asc" | "desc";
}

/** Files that an unfinished batch reads. */
const inUse = "(SELECT input_file FROM batches WHERE is_open = 1)";

export class BatchRegistry extends DurableObject<BatchEnv> {
  readonly #database: Database;
  readonly #alarm: Alarm;

  constructor(ctx: DurableObjectState, env: BatchEnv) {
    super(ctx, env);
    this.#database = new Database(ctx.storage);
    this.#alarm = new Alarm(ctx);
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of schema) ctx.storage.sql.exec(statement);
      await this.#alarm.load();
    });
  }

  /** A file is about to be written. What never comes to its end is deleted after a day. */
  beginFile(id: string, key: string, purpose: Purpose): void {
    const nowMs = Date.now();
    this.#database.write(
      "a file",
      `INSERT INTO files VALUES (?, ?, '', ?, 0, ?, NULL, 'uploading') ON CONFLICT DO NOTHING`,
      id,
      key,
      purpose,
      nowMs,
    );
    this.#alarm.ringBy(nowMs + uploadMs);
  }

  /** The file is written: from now on it is there. Throws `not_found` where it was given up. */
  endFile(id: string, name: string, bytes: number, keepMs: number): FileView {
    const row = this.#row(id);
    if (row === undefined || row.state === "leaving") throw noFile();
    const expiresMs = Number.isFinite(keepMs) ? row.created_ms + keepMs : null;
    const change = "UPDATE files SET name = ?, bytes = ?, expires_ms = ?, state = 'there' WHERE id = ?";
    this.#database.write("a file", change, name, bytes, expiresMs, id);
    if (expiresMs !== null) this.#alarm.ringBy(expiresMs);
    return this.file(id);
  }

  file(id: string): FileView {
    const row = this.#row(id);
    if (row?.state !== "there") throw noFile();
    return viewOf(row);
  }

  /** The newest first, or the oldest. Throws `invalid_argument` where `after` is none of them. */
  files({ after, limit, order }: Listing, purpose: Purpose | null): { files: FileView[]; isLast: boolean } {
    const [comparison, direction] = order === "asc" ? [">", "ASC"] : ["<", "DESC"];
    const begin = after === null ? undefined : this.#row(after);
    if (after !== null && begin === undefined) throw noAfter();
    const rows = this.#database.read<FileRow>(
      `SELECT * FROM files WHERE state = 'there' AND (? IS NULL OR purpose = ?)
        AND (? IS NULL OR (created_ms, id) ${comparison} (?, ?))
        ORDER BY created_ms ${direction}, id ${direction} LIMIT ?`,
      purpose,
      purpose,
      after,
      begin?.created_ms ?? 0,
      after,
      limit + 1,
    );
    return { files: rows.slice(0, limit).map(viewOf), isLast: rows.length <= limit };
  }

  /** Deletes a file. Throws `not_found`, and `invalid_argument` while a batch reads it. */
  async removeFile(id: string): Promise<void> {
    const row = this.#row(id);
    if (row?.state !== "there") throw noFile();
    const [used] = this.#database.read(`SELECT 1 WHERE ? IN ${inUse}`, id);
    if (used !== undefined) {
      throw new GriffinError("invalid_argument", "A batch that is not over reads this file: cancel the batch first.");
    }
    await this.#remove([row]);
  }

  /** An upload broke off, or was refused. */
  async giveUpFile(id: string): Promise<void> {
    const row = this.#row(id);
    if (row?.state === "uploading") await this.#remove([row]);
  }

  /** A batch reads a file, which stays until the batch is over. Again, it changes nothing. Throws `not_found`. */
  addBatch(id: string, inputFile: string): FileView {
    const file = this.file(inputFile);
    if (file.purpose !== "batch") throw noFile();
    const insert = "INSERT INTO batches VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING";
    this.#database.write("a batch", insert, id, Date.now(), inputFile);
    return file;
  }

  /** A batch is over. */
  endBatch(id: string): void {
    this.#database.write("a batch", "UPDATE batches SET is_open = 0 WHERE id = ?", id);
  }

  /** A batch is gone. */
  removeBatch(id: string): void {
    this.#database.write("a batch", "DELETE FROM batches WHERE id = ?", id);
  }

  /** Ids, the newest first. Throws `invalid_argument` where `after` is none of them. */
  batches({ after, limit }: Omit<Listing, "order">): { ids: string[]; isLast: boolean } {
    const query = "SELECT created_ms FROM batches WHERE id = ?";
    const [begin] = after === null ? [] : this.#database.read<{ created_ms: number }>(query, after);
    if (after !== null && begin === undefined) throw noAfter();
    const rows = this.#database.read<{ id: string }>(
      `SELECT id FROM batches WHERE ? IS NULL OR (created_ms, id) < (?, ?)
        ORDER BY created_ms DESC, id DESC LIMIT ?`,
      after,
      begin?.created_ms ?? 0,
      after,
      limit + 1,
    );
    return { ids: rows.slice(0, limit).map(({ id }) => id), isLast: rows.length <= limit };
  }

  override async alarm(): Promise<void> {
    this.#alarm.isGone();
    const nowMs = Date.now();
    const due = `state = 'leaving' OR (state = 'uploading' AND created_ms + ${uploadMs} <= ?1)
      OR (state = 'there' AND expires_ms <= ?1 AND id NOT IN ${inUse})`;
    try {
      await this.#remove(this.#database.read<FileRow>(`SELECT * FROM files WHERE ${due}`, nowMs));
    } catch (error) {
      const name = error instanceof Error ? error.name : "unknown";
      console.error(JSON.stringify({ event: "files_not_deleted", error_name: name }));
      this.#alarm.ringBy(nowMs + againMs);
    }
    const [next] = this.#database.read<{ ms: number | null }>(
      `SELECT min(CASE state WHEN 'uploading' THEN created_ms + ${uploadMs} ELSE expires_ms END) AS ms FROM files`,
    );
    // What a batch still reads is looked at again.
    if (typeof next?.ms === "number") this.#alarm.ringBy(Math.max(next.ms, nowMs + againMs / 10));
  }

  /** What is marked once is gone for everybody, and goes with the next alarm where the bucket does not answer now. */
  async #remove(rows: readonly FileRow[]): Promise<void> {
    for (let from = 0; from < rows.length; from += mostKeys) {
      const some = rows.slice(from, from + mostKeys);
      for (const { id } of some) {
        this.#database.write("a file", "UPDATE files SET state = 'leaving' WHERE id = ?", id);
      }
      this.#alarm.ringBy(Date.now() + againMs);
      await this.#bucket.delete(some.map(({ key }) => key));
      for (const { id } of some) this.#database.write("a file", "DELETE FROM files WHERE id = ?", id);
    }
  }

  get #bucket(): FileBucket {
    if (this.env.FILES === undefined) throw new GriffinError("unsupported", "FILES (R2) is not bound.");
    return this.env.FILES;
  }

  #row(id: string): FileRow | undefined {
    return this.#database.read<FileRow>("SELECT * FROM files WHERE id = ?", id)[0];
  }
}

/** R2 deletes at most so many at once. */
const mostKeys = 1_000;

const noFile = () => new GriffinError("not_found", "There is no file with this id.");
const noAfter = () => new GriffinError("invalid_argument", "after: expected the id of one of this list.");

const viewOf = ({
  id,
  key,
  name,
  purpose,
  bytes,
  created_ms: createdMs,
  expires_ms: expiresMs,
}: FileRow): FileView => ({
  id,
  key,
  name,
  purpose: purpose === "batch" ? "batch" : "batch_output",
  bytes,
  createdMs,
  expiresMs,
});
