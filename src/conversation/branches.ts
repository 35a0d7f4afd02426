// Branches: named heads in the tree of turns.
import { GriffinError } from "../errors.ts";
import type { Database } from "./database.ts";
import type { ConversationChange, ConversationView } from "./protocol.ts";

export interface NewBranch {
  /** The branch it is forked from. */
  parentBranch: number | null;
  /** A finished turn; null begins anew. */
  head: number | null;
  metadata: Record<string, string>;
  /** Names the request that made it. */
  repeatKey?: string | null;
  /** How long it is kept after it was last used, where that was said. */
  expiresAfterS?: number | null;
  nowMs: number;
}

export function insertBranch(db: Database, branch: NewBranch): ConversationView {
  const { parentBranch, head, metadata, repeatKey = null, expiresAfterS = null, nowMs } = branch;
  db.write(
    "a branch",
    `INSERT INTO branches (branch, parent_branch, head, created_ms, metadata, repeat_key, active_ms, expires_after_s)
     SELECT 1 + max(value, coalesce((SELECT max(branch) FROM branches), -1)), ?, ?, ?, ?, ?, ?, ?
     FROM meta WHERE key = 'last_branch'`,
    parentBranch,
    head,
    nowMs,
    JSON.stringify(metadata),
    repeatKey,
    nowMs,
    expiresAfterS,
  );
  const [row] = db.read<{ branch: number }>("SELECT max(branch) AS branch FROM branches");
  const times = { createdMs: nowMs, activeMs: nowMs, expiresAfterS };
  return { branch: row?.branch ?? 0, parentBranch, metadata, head, ...times };
}

interface Columns extends Record<string, string | number | null> {
  branch: number;
  parent_branch: number | null;
  head: number | null;
  created_ms: number;
  active_ms: number;
  expires_after_s: number | null;
  metadata: string;
}

const columns = "branch, parent_branch, head, created_ms, active_ms, expires_after_s, metadata";

/** Throws `data_damaged` where the metadata cannot be read. */
export function readBranch(db: Database, branch: number): ConversationView | null {
  const [row] = db.read<Columns>(`SELECT ${columns} FROM branches WHERE branch = ?`, branch);
  return row === undefined ? null : toView(row, readMetadata(branch, row.metadata));
}

/** All branches, without their metadata: those may be damaged. */
export function readBranches(db: Database): ConversationView[] {
  return db.read<Columns>(`SELECT ${columns} FROM branches ORDER BY branch`).map((row) => toView(row, {}));
}

const toView = (row: Columns, metadata: Record<string, string>): ConversationView => ({
  branch: row.branch,
  parentBranch: row.parent_branch,
  createdMs: row.created_ms,
  metadata,
  head: row.head,
  activeMs: row.active_ms,
  expiresAfterS: row.expires_after_s,
});

/** The branch that a request of this name made since a time. */
export function findBranchOfRepeatKey(db: Database, key: string, sinceMs: number): number | null {
  const query = "SELECT max(branch) AS branch FROM branches WHERE repeat_key = ? AND created_ms >= ?";
  return db.read<{ branch: number | null }>(query, key, sinceMs)[0]?.branch ?? null;
}

/** The last finished turn of a branch; null where there is none yet, undefined where there is no such branch. */
export function readHead(db: Database, branch: number): number | null | undefined {
  return db.read<{ head: number | null }>("SELECT head FROM branches WHERE branch = ?", branch)[0]?.head;
}

/** Throws `not_found`. */
export function changeBranch(db: Database, branch: number, change: ConversationChange, nowMs: number): void {
  const { metadata, expiresAfterS } = change;
  const query = `UPDATE branches SET active_ms = ?1, metadata = coalesce(?2, metadata),
    expires_after_s = CASE WHEN ?3 THEN ?4 ELSE expires_after_s END WHERE branch = ?5 RETURNING branch`;
  const values = [
    nowMs,
    metadata === undefined ? null : JSON.stringify(metadata),
    Number(expiresAfterS !== undefined),
    expiresAfterS ?? null,
    branch,
  ];
  if (db.write(`branch ${branch}`, query, ...values).length === 0) {
    throw new GriffinError("not_found", `There is no branch ${branch} in this conversation.`);
  }
}

/** Moves a branch's head, which is a use of it. */
export function setBranchHead(db: Database, branch: number, head: number, nowMs: number): void {
  const query = "UPDATE branches SET head = ?, active_ms = max(active_ms, ?) WHERE branch = ?";
  db.write(`branch ${branch}`, query, head, nowMs, branch);
}

export function setBranchActive(db: Database, branch: number, nowMs: number): void {
  db.write(`branch ${branch}`, "UPDATE branches SET active_ms = ? WHERE branch = ?", nowMs, branch);
}

/** Its number is not used again. */
export function deleteBranch(db: Database, branch: number): void {
  db.write("meta", "UPDATE meta SET value = max(value, ?) WHERE key = 'last_branch'", branch);
  db.write(`branch ${branch}`, "DELETE FROM branches WHERE branch = ?", branch);
}

/** Lets every branch that ends with one turn end with another; null: have none. */
export function moveHeads(db: Database, from: number, to: number | null): void {
  db.write("branches", "UPDATE branches SET head = ? WHERE head = ?", to, from);
}

export function countBranches(db: Database): number {
  return db.read<{ count: number }>("SELECT count(*) AS count FROM branches")[0]?.count ?? 0;
}

function readMetadata(branch: number, text: string): Record<string, string> {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `The stored metadata of branch ${branch} is damaged: its bytes are not the ones that were written. Write it anew.`;
    throw new GriffinError("data_damaged", message, { cause });
  }
}
