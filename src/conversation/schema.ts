// The tables of a Conversation object, and how a database of an older version becomes one of this.
// Indexes are few, because an index row is billed as any row. Ids are never used twice, or an old link would show a new
// turn: meta remembers the highest one ever deleted.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { GriffinError } from "../errors.ts";

/** Steps[n] makes a database of version n one of version n + 1. A step that was released never changes. */
export const schemaSteps: readonly (readonly string[])[] = [
  [
    `CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
    `INSERT INTO meta (key, value) VALUES ('schema_version', 0), ('last_turn', 0), ('last_branch', -1)`,

    `CREATE TABLE branches (
      branch INTEGER PRIMARY KEY, parent_branch INTEGER, head INTEGER, created_ms INTEGER NOT NULL,
      metadata TEXT NOT NULL
    ) STRICT`,

    // metadata, options, messages: JSON. reply: JSON of text, finish reason, usage, error.
    // NULL in one of the four last columns of a turn that has such a value: it is in parts.
    `CREATE TABLE turns (
      turn INTEGER PRIMARY KEY, parent INTEGER, branch INTEGER, status TEXT NOT NULL,
      created_ms INTEGER NOT NULL, finished_ms INTEGER, repeat_key TEXT, ends_with_client INTEGER NOT NULL,
      attempts INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0, checkpoint TEXT,
      end_position INTEGER, state_bytes INTEGER, rows_written INTEGER, bytes_written INTEGER,
      options TEXT NOT NULL, metadata TEXT NOT NULL,
      messages BLOB, reply BLOB, prompt_tokens BLOB, reply_tokens BLOB
    ) STRICT`,
    `CREATE INDEX turns_by_parent ON turns (parent)`,
    `CREATE INDEX turns_in_progress ON turns (branch) WHERE status = 'in_progress'`,
    `CREATE INDEX turns_by_repeat_key ON turns (repeat_key) WHERE repeat_key IS NOT NULL`,

    `CREATE TABLE log (
      turn INTEGER NOT NULL, part INTEGER NOT NULL, tokens BLOB NOT NULL, PRIMARY KEY (turn, part)
    ) STRICT, WITHOUT ROWID`,

    `CREATE TABLE parts (
      turn INTEGER NOT NULL, kind TEXT NOT NULL, part INTEGER NOT NULL, bytes BLOB NOT NULL,
      PRIMARY KEY (turn, kind, part)
    ) STRICT, WITHOUT ROWID`,

    // body: recurrent part and unfinished page, in parts. pages: u32 pairs (page, CRC-32), in order of position.
    `CREATE TABLE snapshots (
      turn INTEGER PRIMARY KEY, checkpoint TEXT NOT NULL, graph TEXT NOT NULL, layout_bytes INTEGER NOT NULL,
      position INTEGER NOT NULL, pages BLOB NOT NULL, body_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL
    ) STRICT`,
    `CREATE TABLE pages (page INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT`,
  ],
  // hash: of all texts up to the reply of the turn. See prefixes.ts.
  [`CREATE TABLE prefixes (hash TEXT PRIMARY KEY, turn INTEGER NOT NULL) STRICT, WITHOUT ROWID`],
  // Turns side by side may have the same texts: each keeps its hash.
  [
    `ALTER TABLE prefixes RENAME TO prefixes_by_hash`,
    `CREATE TABLE prefixes (turn INTEGER PRIMARY KEY, hash TEXT NOT NULL) STRICT`,
    `INSERT INTO prefixes (turn, hash) SELECT turn, hash FROM prefixes_by_hash`,
    `DROP TABLE prefixes_by_hash`,
    `CREATE INDEX prefixes_by_hash ON prefixes (hash)`,
  ],
  // kind: what the turn is, see protocol.ts. removed_items: JSON, numbers of items whose texts were deleted.
  // active_ms: when a branch was last used; expires_after_s: how long it is kept since then, NULL for as all are.
  [
    `ALTER TABLE turns ADD COLUMN kind TEXT NOT NULL DEFAULT 'reply'`,
    `ALTER TABLE turns ADD COLUMN removed_items TEXT NOT NULL DEFAULT '[]'`,
    `ALTER TABLE branches ADD COLUMN repeat_key TEXT`,
    `ALTER TABLE branches ADD COLUMN active_ms INTEGER NOT NULL DEFAULT 0`,
    `ALTER TABLE branches ADD COLUMN expires_after_s INTEGER`,
    `UPDATE branches SET active_ms = unixepoch() * 1000`,
  ],
  // unsettled: when the turn has ended there is something to do, and that may not be done: a tenant may not have heard
  // what it cost, nor those who are to be told that it ended; or it was not to be kept.
  [`ALTER TABLE turns ADD COLUMN unsettled INTEGER NOT NULL DEFAULT 0`],
  // log_probabilities: JSON, what was told of each of a part's tokens; NULL where that was nothing.
  [`ALTER TABLE log ADD COLUMN log_probabilities TEXT`],
];

/** Version of a database; 0 where nothing was ever stored. */
export function schemaVersion({ sql }: DurableObjectStorage): number {
  const [meta] = sql.exec("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'").toArray();
  if (meta === undefined) return 0;
  return sql.exec<{ value: number }>("SELECT value FROM meta WHERE key = 'schema_version'").one().value;
}

/** Brings a database up to date, all or nothing. Throws `unsupported` where newer code wrote it. */
export function upgradeSchema(storage: DurableObjectStorage, steps = schemaSteps): void {
  const version = schemaVersion(storage);
  if (version === steps.length) return;
  if (version > steps.length) {
    throw new GriffinError(
      "unsupported",
      `This conversation is stored in schema version ${version}, but this code knows versions up to ${steps.length}: ` +
        `newer code wrote it. Deploy that code or a later one.`,
    );
  }
  storage.transactionSync(() => {
    for (const statement of steps.slice(version).flat()) storage.sql.exec(statement);
    storage.sql.exec("UPDATE meta SET value = ? WHERE key = 'schema_version'", steps.length);
  });
}
