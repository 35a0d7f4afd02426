// Branches: named heads in the tree of turns.
import { GriffinError } from "../errors.ts";
import type { Database } from "./database.ts";
import type { ConversationView } from "./protocol.ts";

export interface NewBranch {
  /** The branch it is forked from. */
  parentBranch: number | null;
  /** A finished turn; null begins anew. */
  head: number | null;
  metadata: Record<string, string>;
  /** Names the request that made it. */
  repeatKey?: string | null;
  nowMs: number;
}

export function insertBranch(
  db: Database,
  { parentBranch, head, metadata, repeatKey = null, nowMs }: NewBranch,
): ConversationView {
  db.write(
    "a branch",
    `INSERT INTO branches (branch, parent_branch, head, created_ms, metadata, repeat_key, active_ms)
     SELECT 1 + max(value, coalesce((SELECT max(branch) FROM branches), -1)), ?, ?, ?, ?, ?, ?
     FROM meta WHERE key = 'last_branch'`,
    parentBranch,
    head,
    nowMs,
    JSON.stringify(metadata),
    repeatKey,
    nowMs,
  );
  const [row] = db.read<{ branch: number }>("SELECT max(branch) AS branch FROM branches");
  return { branch: row?.branch ?? 0, parentBranch, createdMs: nowMs, metadata, head };
}

/** Throws `data_damaged` where the metadata cannot be read. */
export function readBranch(db: Database, branch: number): ConversationView | null {
  const [row] = db.read<{ parent_branch: number | null; head: number | null; created_ms: number; metadata: string }>(
    "SELECT parent_branch, head, created_ms, metadata FROM branches WHERE branch = ?",
    branch,
  );
  if (row === undefined) return null;
  const metadata = readMetadata(branch, row.metadata);
  return { branch, parentBranch: row.parent_branch, createdMs: row.created_ms, metadata, head: row.head };
}

/** The branch that a request of this name made since a time. */
export function findBranchOfRepeatKey(db: Database, key: string, sinceMs: number): number | null {
  const query = "SELECT max(branch) AS branch FROM branches WHERE repeat_key = ? AND created_ms >= ?";
  return db.read<{ branch: number | null }>(query, key, sinceMs)[0]?.branch ?? null;
}

/** The last finished turn of a branch; null where there is none yet, undefined where there is no such branch. */
export function readHead(db: Database, branch: number): number | null | undefined {
  return db.read<{ head: number | null }>("SELECT head FROM branches WHERE branch = ?", branch)[0]?.head;
}

export function setBranchMetadata(db: Database, branch: number, metadata: Record<string, string>): void {
  const query = "UPDATE branches SET metadata = ? WHERE branch = ? RETURNING branch";
  if (db.write(`branch ${branch}`, query, JSON.stringify(metadata), branch).length === 0) {
    throw new GriffinError("not_found", `There is no branch ${branch} in this conversation.`);
  }
}

export function setBranchHead(db: Database, branch: number, head: number): void {
  db.write(`branch ${branch}`, "UPDATE branches SET head = ? WHERE branch = ?", head, branch);
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
