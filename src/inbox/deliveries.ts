// What a hook's object keeps of what was posted to it: a row a delivery, by which it is known when it comes again. What was
// said stays until the turn has read it, and a reply until who delivers it has it.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { Database } from "../conversation/database.ts";
import { formatId } from "../conversation/names.ts";
import type { WebhookEvent } from "../outbox/events.ts";
import type { DeliveryListing, DeliveryStatus, DeliveryView, ReplyStatus } from "./protocol.ts";
import type { DeliveryNames } from "./payload.ts";

const schema = [
  // object: the conversation's. input, respond_to: NULL when it is over. notice: JSON, until it is handed over.
  `CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    conversation_key TEXT, object TEXT, input TEXT, respond_to TEXT, created_ms INTEGER NOT NULL, due_ms INTEGER,
    strikes INTEGER NOT NULL, turn INTEGER, finished_ms INTEGER, error TEXT, reply TEXT NOT NULL, notice TEXT
  ) STRICT`,
  `CREATE INDEX IF NOT EXISTS deliveries_open ON deliveries (number) WHERE due_ms IS NOT NULL`,
  `CREATE INDEX IF NOT EXISTS deliveries_notices ON deliveries (number) WHERE notice IS NOT NULL`,
  // Conversations that were deleted: which one of a key goes on now.
  `CREATE TABLE IF NOT EXISTS generations (
    conversation_key TEXT PRIMARY KEY, generation INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`,
];

/** What is to be done of a delivery. */
export interface Open extends Record<string, string | number | null> {
  number: number;
  id: string;
  /** What tells it from others, for the turn as well. */
  digest: string;
  conversation_key: string;
  object: string | null;
  input: string;
  respond_to: string | null;
  created_ms: number;
  /** Attempts that came to no end. */
  strikes: number;
  turn: number | null;
}

/** How a delivery ended. */
export interface DeliveryEnd {
  status: "completed" | "failed";
  error: { code: string; message: string } | null;
  reply: ReplyStatus;
  notice: ReplyNotice | null;
}

/** A reply to be delivered, and where. */
export interface ReplyNotice {
  url: string;
  event: WebhookEvent;
}

interface Row extends Record<string, string | number | null> {
  number: number;
  id: string;
  digest: string;
  status: DeliveryStatus;
  object: string | null;
  created_ms: number;
  turn: number | null;
  finished_ms: number | null;
  error: string | null;
  reply: ReplyStatus;
}

const viewColumns = "number, id, digest, status, object, created_ms, turn, finished_ms, error, reply";

export class Deliveries {
  readonly #db: Database;

  constructor(storage: DurableObjectStorage) {
    this.#db = new Database(storage);
    for (const statement of schema) storage.sql.exec(statement);
  }

  /** The delivery that these names were given before; null where there is none. */
  find({ id, digest }: DeliveryNames): DeliveryView | null {
    const query = `SELECT ${viewColumns} FROM deliveries WHERE id = ? OR digest = ? ORDER BY number LIMIT 1`;
    const [row] = this.#db.read<Row>(query, id, digest);
    return row === undefined ? null : viewOf(row);
  }

  /** Keeps a delivery; `input` null: there is nothing to do. */
  add(
    names: DeliveryNames,
    asked: { conversationKey: string; input: string; respondTo: string | null } | null,
    nowMs: number,
  ): DeliveryView {
    const [row] = this.#db.write<Row>(
      "a delivery",
      `INSERT INTO deliveries
         (id, digest, status, conversation_key, input, respond_to, created_ms, due_ms, strikes, finished_ms, reply)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, 'none') RETURNING ${viewColumns}`,
      names.id,
      names.digest,
      asked === null ? "ignored" : "queued",
      asked?.conversationKey ?? null,
      asked?.input ?? null,
      asked?.respondTo ?? null,
      nowMs,
      asked === null ? null : nowMs,
      asked === null ? nowMs : null,
    );
    if (row === undefined) throw new Error("An insert returns its row.");
    return viewOf(row);
  }

  /** How many are not over. */
  openCount(): number {
    return this.#db.read<{ n: number }>("SELECT count(*) AS n FROM deliveries WHERE due_ms IS NOT NULL")[0]?.n ?? 0;
  }

  /** Of each conversation the first that is not over, where that is due. */
  due(nowMs: number, limit: number): Open[] {
    return this.#db.read<Open>(
      `SELECT number, id, digest, conversation_key, object, input, respond_to, created_ms, strikes, turn FROM deliveries
       WHERE due_ms <= ? AND number IN
         (SELECT min(number) FROM deliveries WHERE due_ms IS NOT NULL GROUP BY conversation_key)
       ORDER BY number LIMIT ?`,
      nowMs,
      limit,
    );
  }

  /** When the next of those is due that is not due yet; null where there is none. */
  nextDueMs(nowMs: number): number | null {
    const query = `SELECT min(due_ms) AS ms FROM deliveries WHERE due_ms > ? AND number IN
      (SELECT min(number) FROM deliveries WHERE due_ms IS NOT NULL GROUP BY conversation_key)`;
    return this.#db.read<{ ms: number | null }>(query, nowMs)[0]?.ms ?? null;
  }

  /** A turn is about to be begun: should the process die of it, this is what stays, and it is tried again then. */
  strike(number: number, dueMs: number): void {
    const change = "UPDATE deliveries SET strikes = strikes + 1, due_ms = ? WHERE number = ?";
    this.#db.write("a delivery", change, dueMs, number);
  }

  /** Its turn has begun: whatever dies from now on, its conversation finds it. */
  began({ number, strikes }: Open, object: string, turn: number, nowMs: number): void {
    const change = "status = 'in_progress', object = ?, turn = ?, strikes = ?, due_ms = ?";
    this.#db.write(
      "a delivery",
      `UPDATE deliveries SET ${change} WHERE number = ?`,
      object,
      turn,
      strikes,
      nowMs,
      number,
    );
  }

  /** Something was taken: it is to be tried again. */
  postpone({ number, strikes, turn }: Open, dueMs: number): void {
    const change = `UPDATE deliveries SET due_ms = ?, strikes = ?, turn = ?, status = iif(?3 IS NULL, 'queued', status)
      WHERE number = ?`;
    this.#db.write("a delivery", change, dueMs, strikes, turn, number);
  }

  /** Something failed: it is to be tried again, with another turn where this one has ended. */
  retry({ number, strikes }: Open, dueMs: number): void {
    const change = "UPDATE deliveries SET due_ms = ?, strikes = ?, turn = NULL, status = 'queued' WHERE number = ?";
    this.#db.write("a delivery", change, dueMs, strikes + 1, number);
  }

  /** It is over. What was said is not kept here, its reply goes on its way: both or neither. */
  end(number: number, { status, error, reply, notice }: DeliveryEnd, nowMs: number): void {
    this.#db.write(
      "a delivery",
      `UPDATE deliveries SET status = ?, error = ?, reply = ?, notice = ?, finished_ms = ?, due_ms = NULL, input = NULL,
         respond_to = NULL, conversation_key = NULL WHERE number = ?`,
      status,
      error === null ? null : JSON.stringify(error),
      reply,
      notice === null ? null : JSON.stringify(notice),
      nowMs,
      number,
    );
  }

  /** Replies that nobody has yet. */
  notices(): { number: number; notice: ReplyNotice }[] {
    const query = "SELECT number, notice FROM deliveries WHERE notice IS NOT NULL ORDER BY number";
    return this.#db
      .read<{ number: number; notice: string }>(query)
      .map(({ number, notice }) => ({ number, notice: JSON.parse(notice) as ReplyNotice }));
  }

  hasNotices(): boolean {
    return this.#db.read("SELECT 1 FROM deliveries WHERE notice IS NOT NULL LIMIT 1").length > 0;
  }

  handedOver(number: number): void {
    const change = "UPDATE deliveries SET notice = NULL, reply = 'handed_over' WHERE number = ?";
    this.#db.write("a delivery", change, number);
  }

  /** The newest first, behind `after`. */
  list({ status, after, limit }: DeliveryListing): { deliveries: DeliveryView[]; isLast: boolean } {
    const query = `SELECT ${viewColumns} FROM deliveries
      WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR number < (SELECT number FROM deliveries WHERE id = ?2))
      ORDER BY number DESC LIMIT ?3`;
    const rows = this.#db.read<Row>(query, status, after, limit + 1);
    return { deliveries: rows.slice(0, limit).map(viewOf), isLast: rows.length <= limit };
  }

  /** Forgets what was over before a time, up to the first that was not: no more rows are read than go. */
  prune(beforeMs: number): void {
    const query = `SELECT number FROM deliveries
      WHERE finished_ms IS NULL OR finished_ms >= ? OR notice IS NOT NULL ORDER BY number LIMIT 1`;
    const [kept] = this.#db.read<{ number: number }>(query, beforeMs);
    this.#db.write("deliveries", "DELETE FROM deliveries WHERE ?1 IS NULL OR number < ?1", kept?.number ?? null);
  }

  /** When the first delivery was over; null where it is not, or there is none. */
  firstFinishedMs(): number | null {
    const query = "SELECT finished_ms AS ms FROM deliveries ORDER BY number LIMIT 1";
    return this.#db.read<{ ms: number | null }>(query)[0]?.ms ?? null;
  }

  /** How many conversations of a key were deleted. */
  generation(conversationKey: string): number {
    const query = "SELECT generation FROM generations WHERE conversation_key = ?";
    return this.#db.read<{ generation: number }>(query, conversationKey)[0]?.generation ?? 0;
  }

  setGeneration(conversationKey: string, generation: number): void {
    const upsert = "INSERT INTO generations VALUES (?, ?) ON CONFLICT DO UPDATE SET generation = excluded.generation";
    this.#db.write("a generation", upsert, conversationKey, generation);
  }
}

function viewOf({
  id,
  digest,
  status,
  object,
  created_ms: createdMs,
  turn,
  finished_ms: finishedMs,
  error,
  reply,
}: Row) {
  return {
    id,
    digest,
    status,
    createdMs,
    finishedMs,
    conversation: object === null ? null : formatId("conversation", { object, number: 0 }),
    response: object === null || turn === null ? null : formatId("response", { object, number: turn }),
    error: error === null ? null : (JSON.parse(error) as DeliveryView["error"]),
    reply,
  } satisfies DeliveryView;
}
