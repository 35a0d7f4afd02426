// What a Tenant object keeps: itself, its keys, work that runs, usage a key and day. Rows are the bill: a request of work
// writes two, and one more when the next day's usage begins.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { scopes, type Cost, type KeyView, type Limits, type NewKey, type Scope, type UsageRow } from "./protocol.ts";

const schema = [
  `CREATE TABLE IF NOT EXISTS keys (
    key INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, hash TEXT NOT NULL, previous_hash TEXT,
    previous_until_ms INTEGER, scopes TEXT NOT NULL, limits TEXT NOT NULL, created_ms INTEGER NOT NULL,
    expires_ms INTEGER, revoked_ms INTEGER, last_used_ms INTEGER
  ) STRICT`,
  // Work in the making: what it may take, since when.
  `CREATE TABLE IF NOT EXISTS charges (
    charge INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL, tokens INTEGER NOT NULL, taken_ms INTEGER NOT NULL
  ) STRICT`,
  // Work that lost its place: it may still end, and tell what it cost.
  `CREATE TABLE IF NOT EXISTS lapsed_charges (
    charge INTEGER PRIMARY KEY, key INTEGER NOT NULL, tokens INTEGER NOT NULL, taken_ms INTEGER NOT NULL
  ) STRICT`,
  `CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key INTEGER NOT NULL, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, PRIMARY KEY (day, key)
  ) STRICT, WITHOUT ROWID`,
];

interface KeyColumns extends Record<string, string | number | null> {
  key: number;
  name: string;
  hash: string;
  previous_hash: string | null;
  previous_until_ms: number | null;
  scopes: string;
  limits: string;
  created_ms: number;
  expires_ms: number | null;
  revoked_ms: number | null;
  last_used_ms: number | null;
}

/** A key, and what tells its secrets. */
export interface StoredKey extends KeyView {
  hash: string;
  previousHash: string | null;
}

export interface StoredCharge extends Record<string, number> {
  charge: number;
  key: number;
  tokens: number;
  taken_ms: number;
}

export class TenantStore {
  readonly #sql: DurableObjectStorage["sql"];

  constructor({ sql }: DurableObjectStorage) {
    this.#sql = sql;
    for (const statement of schema) sql.exec(statement);
  }

  keys(): StoredKey[] {
    return this.#sql.exec<KeyColumns>("SELECT * FROM keys ORDER BY key").toArray().map(toKey);
  }

  insertKey(hash: string, { name, scopes: allowed, limits, expiresMs }: NewKey, nowMs: number): StoredKey {
    const row = this.#sql
      .exec<KeyColumns>(
        `INSERT INTO keys (name, hash, scopes, limits, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?) RETURNING *`,
        name,
        hash,
        JSON.stringify(allowed),
        JSON.stringify(limits),
        nowMs,
        expiresMs,
      )
      .one();
    return toKey(row);
  }

  deleteKey(key: number): void {
    this.#sql.exec("DELETE FROM keys WHERE key = ?", key);
  }

  /** Writes back what may change of a key. */
  updateKey({ key, ...row }: StoredKey): void {
    this.#sql.exec(
      `UPDATE keys SET name = ?, hash = ?, previous_hash = ?, previous_until_ms = ?, scopes = ?, limits = ?,
        expires_ms = ?, revoked_ms = ?, last_used_ms = ? WHERE key = ?`,
      row.name,
      row.hash,
      row.previousHash,
      row.previousUntilMs,
      JSON.stringify(row.scopes),
      JSON.stringify(row.limits),
      row.expiresMs,
      row.revokedMs,
      row.lastUsedMs,
      key,
    );
  }

  insertCharge(key: number, tokens: number, nowMs: number): number {
    const { charge } = this.#sql
      .exec<{ charge: number }>(
        "INSERT INTO charges (key, tokens, taken_ms) VALUES (?, ?, ?) RETURNING charge",
        key,
        tokens,
        nowMs,
      )
      .one();
    return charge;
  }

  /** Work that lost its place has it again. */
  restoreCharge({ charge, key, tokens, taken_ms: takenMs }: StoredCharge): void {
    this.#sql.exec("INSERT INTO charges VALUES (?, ?, ?, ?)", charge, key, tokens, takenMs);
  }

  /** In the order in which their tokens were taken. */
  charges(): StoredCharge[] {
    return this.#sql.exec<StoredCharge>("SELECT * FROM charges ORDER BY taken_ms").toArray();
  }

  deleteCharge(charge: number): void {
    this.#sql.exec("DELETE FROM charges WHERE charge = ?", charge);
  }

  /** What work takes from now on. */
  updateCharge({ charge, tokens, taken_ms: takenMs }: StoredCharge): void {
    this.#sql.exec("UPDATE charges SET tokens = ?, taken_ms = ? WHERE charge = ?", tokens, takenMs, charge);
  }

  /** Remembers of work that it lost its place. */
  insertLapsed({ charge, key, tokens, taken_ms: takenMs }: StoredCharge): void {
    this.#sql.exec("INSERT INTO lapsed_charges VALUES (?, ?, ?, ?)", charge, key, tokens, takenMs);
  }

  /** Forgets work that lost its place; undefined where there is no such work. */
  takeLapsed(charge: number): StoredCharge | undefined {
    const query = "DELETE FROM lapsed_charges WHERE charge = ? RETURNING charge, key, tokens, taken_ms";
    return this.#sql.exec<StoredCharge>(query, charge).toArray()[0];
  }

  /** Forgets work that began before a time: it will not end any more. */
  deleteLapsed(beforeMs: number): void {
    this.#sql.exec("DELETE FROM lapsed_charges WHERE taken_ms < ?", beforeMs);
  }

  /** Adds to a key's day. */
  addUsage(key: number, nowMs: number, cost: Cost): void {
    this.#sql.exec(
      `INSERT INTO usage VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT (day, key) DO UPDATE SET requests = requests + 1,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens, cached_tokens = cached_tokens + excluded.cached_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens`,
      new Date(nowMs).toISOString().slice(0, 10),
      key,
      cost.promptTokens,
      cost.cachedTokens,
      cost.completionTokens,
    );
  }

  usage(fromDay: string, toDay: string): UsageRow[] {
    return this.#sql
      .exec<{ day: string; key: number; requests: number; p: number; c: number; r: number }>(
        `SELECT day, key, requests, prompt_tokens AS p, cached_tokens AS c, completion_tokens AS r FROM usage
          WHERE day BETWEEN ? AND ? ORDER BY day, key`,
        fromDay,
        toDay,
      )
      .toArray()
      .map(({ p, c, r, ...row }) => ({ ...row, promptTokens: p, cachedTokens: c, completionTokens: r }));
  }
}

function toKey(row: KeyColumns): StoredKey {
  const allowed: unknown[] = JSON.parse(row.scopes);
  const limits: Limits = JSON.parse(row.limits);
  return {
    key: row.key,
    name: row.name,
    hash: row.hash,
    previousHash: row.previous_hash,
    previousUntilMs: row.previous_until_ms,
    scopes: scopes.filter((scope): scope is Scope => allowed.includes(scope)),
    limits,
    createdMs: row.created_ms,
    expiresMs: row.expires_ms,
    revokedMs: row.revoked_ms,
    lastUsedMs: row.last_used_ms,
  };
}
