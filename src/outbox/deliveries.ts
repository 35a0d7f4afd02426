// What an endpoint's object keeps: one row an event, with its attempts, until its time is over. Rows are the bill: an event
// that is taken at once writes its row twice, and twice the index of what is due.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { GriffinError } from "../errors.ts";
import { payloadOf, testIdHead, type WebhookEvent } from "./events.ts";
import type { Attempt, DeliveryListing, DeliveryStatus, DeliveryView, ReplayRange } from "./protocol.ts";

const schema = [
  // tries: failed attempts since it was to be told anew. attempts: JSON. due_ms: NULL where no attempt will come.
  `CREATE TABLE IF NOT EXISTS deliveries (
    event TEXT PRIMARY KEY, type TEXT NOT NULL, body TEXT NOT NULL, created_ms INTEGER NOT NULL, status TEXT NOT NULL,
    tries INTEGER NOT NULL, due_ms INTEGER, finished_ms INTEGER, delivered_ms INTEGER, attempts TEXT NOT NULL
  ) STRICT, WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_ms) WHERE due_ms IS NOT NULL`,
];

/** Of one event: whoever replays it on and on sees the last ones. */
const mostAttempts = 30;
/** Finished ones above that go, the oldest first. */
export const mostFinished = 5_000;

/** An event to be told now. */
export interface Due extends Record<string, string | number> {
  event: string;
  body: string;
  tries: number;
  due_ms: number;
}

/** An attempt that was made, for an event that was due at a time; null: it was due at none. */
export interface Made {
  event: string;
  dueMs: number | null;
  attempt: Attempt;
}

interface Row extends Record<string, string | number | null> {
  event: string;
  type: string;
  status: DeliveryStatus;
  created_ms: number;
  due_ms: number | null;
  attempts: string;
}

/** Whether an attempt was the one that an event is due for, and not to be told anew since. */
const isThis = "due_ms IS ?2";
/** It counts as well where nothing more was to be told meanwhile. */
const isEnd = "(due_ms IS NULL OR due_ms IS ?2)";

const viewColumns = "event, type, status, created_ms, due_ms, attempts";

export class Deliveries {
  readonly #sql: DurableObjectStorage["sql"];
  /** What is over may be told anew; where it may not, nothing of what it said stays. */
  readonly #isReplayed: boolean;

  constructor({ sql }: DurableObjectStorage, { isReplayed }: { isReplayed: boolean }) {
    this.#sql = sql;
    this.#isReplayed = isReplayed;
    for (const statement of schema) sql.exec(statement);
  }

  /** Keeps an event, to be told at a time; null: never by itself. One that is known stays as it is. */
  add(event: WebhookEvent, dueMs: number | null): void {
    this.#sql.exec(
      `INSERT OR IGNORE INTO deliveries (event, type, body, created_ms, status, tries, due_ms, attempts)
       VALUES (?, ?, ?, ?, ?, 0, ?, '[]')`,
      event.id,
      event.type,
      payloadOf(event),
      event.createdMs,
      dueMs === null ? "failed" : "pending",
      dueMs,
    );
  }

  /** What is due, the longest waiting first. */
  due(nowMs: number, limit: number): Due[] {
    const query = "SELECT event, body, tries, due_ms FROM deliveries WHERE due_ms <= ? ORDER BY due_ms LIMIT ?";
    return this.#sql.exec<Due>(query, nowMs, limit).toArray();
  }

  /** When the next one is due that is not due yet; null where there is none. */
  nextDueMs(nowMs: number): number | null {
    const query = "SELECT min(due_ms) AS ms FROM deliveries WHERE due_ms > ?";
    return this.#sql.exec<{ ms: number | null }>(query, nowMs).one().ms;
  }

  /** An attempt is due later than it was, and no attempt was made. */
  postpone(event: string, dueMs: number): void {
    this.#sql.exec("UPDATE deliveries SET due_ms = ? WHERE event = ? AND due_ms IS NOT NULL", dueMs, event);
  }

  /** An attempt was taken. An event that was to be told anew meanwhile has become due at another time, and stays so. */
  delivered({ event, dueMs, attempt }: Made, nowMs: number): void {
    this.#sql.exec(
      `UPDATE deliveries SET attempts = ?3, delivered_ms = ?4, status = iif(${isEnd}, 'delivered', status),
         finished_ms = iif(${isEnd}, ?4, finished_ms), body = iif(${isEnd} AND NOT ?5, '', body),
         due_ms = iif(${isEnd}, NULL, due_ms) WHERE event = ?1`,
      event,
      dueMs,
      this.#withAttempt(event, attempt),
      nowMs,
      Number(this.#isReplayed),
    );
  }

  /** An attempt failed; `nextMs` null: it was the last one. Here too, what is to be told anew stays so. */
  failed({ event, dueMs, attempt }: Made, nextMs: number | null, nowMs: number): void {
    this.#sql.exec(
      `UPDATE deliveries SET attempts = ?3, status = iif(${isThis}, ?4, status), tries = tries + (${isThis}),
         finished_ms = iif(${isThis}, ?5, finished_ms), body = iif(${isThis} AND ?6 IS NULL AND NOT ?7, '', body),
         due_ms = iif(${isThis}, ?6, due_ms) WHERE event = ?1`,
      event,
      dueMs,
      this.#withAttempt(event, attempt),
      nextMs === null ? "failed" : "pending",
      nextMs === null ? nowMs : null,
      nextMs,
      Number(this.#isReplayed),
    );
  }

  /** Nothing more is told. */
  giveUp(nowMs: number): void {
    const query = "UPDATE deliveries SET status = 'failed', due_ms = NULL, finished_ms = ? WHERE due_ms IS NOT NULL";
    this.#sql.exec(query, nowMs);
  }

  /** Lets an event be told anew. Throws `not_found`. */
  replay(event: string, nowMs: number): void {
    this.view(event);
    // At another time than it may be due already: the attempt that runs is not the one that was asked for.
    this.#sql.exec(
      `UPDATE deliveries SET status = 'pending', tries = 0, due_ms = iif(due_ms IS ?1, ?1 + 1, ?1), finished_ms = NULL
       WHERE event = ?2`,
      nowMs,
      event,
    );
  }

  /**
   * Lets events be told anew, and returns how many. Those that are still being told go on as they are, and tests are
   * over when they were made.
   */
  replayAll({ fromMs, toMs, status }: ReplayRange, nowMs: number): number {
    const query = `UPDATE deliveries SET status = 'pending', tries = 0, due_ms = ?1, finished_ms = NULL
      WHERE due_ms IS NULL AND event NOT GLOB '${testIdHead}*' AND created_ms BETWEEN ?2 AND ?3 AND (?4 IS NULL OR status = ?4) RETURNING event`;
    return this.#sql.exec(query, nowMs, fromMs, toMs, status).toArray().length;
  }

  /** Throws `not_found`. */
  view(event: string): DeliveryView {
    const query = `SELECT ${viewColumns} FROM deliveries WHERE event = ?`;
    const [row] = this.#sql.exec<Row>(query, event).toArray();
    if (row === undefined) throw new GriffinError("not_found", "There is no such event here.");
    return toView(row);
  }

  /** The newest first. */
  list({ status, after, limit }: DeliveryListing): { deliveries: DeliveryView[]; isLast: boolean } {
    const query = `SELECT ${viewColumns} FROM deliveries
      WHERE (?1 IS NULL OR status = ?1)
        AND (?2 IS NULL OR (created_ms, event) < (SELECT created_ms, event FROM deliveries WHERE event = ?2))
      ORDER BY created_ms DESC, event DESC LIMIT ?3`;
    const rows = this.#sql.exec<Row>(query, status, after, limit + 1).toArray();
    return { deliveries: rows.slice(0, limit).map(toView), isLast: rows.length <= limit };
  }

  /** When something was last taken; null where nothing was. */
  lastDeliveredMs(): number | null {
    const query = "SELECT max(delivered_ms) AS ms FROM deliveries";
    return this.#sql.exec<{ ms: number | null }>(query).one().ms;
  }

  /**
   * Deletes what was finished before a time, or is above a number of finished ones, but for the one that was taken last.
   * Returns how many rows are left.
   */
  prune(beforeMs: number, most: number): number {
    const finished = "due_ms IS NULL AND delivered_ms IS NOT (SELECT max(delivered_ms) FROM deliveries)";
    this.#sql.exec(`DELETE FROM deliveries WHERE due_ms IS NULL AND coalesce(finished_ms, created_ms) < ?`, beforeMs);
    this.#sql.exec(
      `DELETE FROM deliveries WHERE ${finished} AND event NOT IN
         (SELECT event FROM deliveries WHERE due_ms IS NULL ORDER BY finished_ms DESC LIMIT ?)`,
      most,
    );
    return this.#sql.exec<{ count: number }>("SELECT count(*) AS count FROM deliveries").one().count;
  }

  /** When the first of what is finished was; null where nothing is. */
  firstFinishedMs(): number | null {
    const query = "SELECT min(coalesce(finished_ms, created_ms)) AS ms FROM deliveries WHERE due_ms IS NULL";
    return this.#sql.exec<{ ms: number | null }>(query).one().ms;
  }

  #withAttempt(event: string, attempt: Attempt): string {
    const query = "SELECT attempts FROM deliveries WHERE event = ?";
    const [row] = this.#sql.exec<{ attempts: string }>(query, event).toArray();
    const attempts = JSON.parse(row?.attempts ?? "[]") as Attempt[];
    return JSON.stringify([...attempts, attempt].slice(-mostAttempts));
  }
}

function toView({ event, type, status, created_ms: createdMs, due_ms: nextAttemptMs, attempts }: Row): DeliveryView {
  return { event, type, status, createdMs, nextAttemptMs, attempts: JSON.parse(attempts) as Attempt[] };
}
