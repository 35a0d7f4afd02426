// The stored prefix: clients of chat completions send the whole history each time. Every finished turn is found by a
// hash of all texts up to its reply, made message by message, so that it does not matter how they were sent. A text
// that differs anywhere makes the prefix shorter, never wrong.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { ChatMessage } from "../model/chat-template.ts";
import type { Database } from "./database.ts";

export interface Prefix {
  /** The turn to go on from; null when nothing matches. */
  parent: number | null;
  /** The messages that come after it; at least one. */
  messages: ChatMessage[];
}

/** Different words of the APIs for one role. */
const sameRoles: Readonly<Record<string, string>> = { developer: "system", assistant: "model" };
const roleOf = ({ role }: ChatMessage) => sameRoles[role] ?? role;

/** Whether two messages say the same, by whatever word for their role. */
export const hasSameText = (one: ChatMessage, other: ChatMessage | undefined): boolean =>
  other !== undefined && roleOf(one) === roleOf(other) && one.content === other.content;

/** The longest beginning of `messages` that ends with the reply of a stored turn. */
export function longestPrefix(db: Database, messages: readonly ChatMessage[]): Prefix {
  const hashes: { length: number; hash: string }[] = [];
  let hash = "";
  // The last message is what is asked: it is never part of what was.
  for (const [i, message] of messages.slice(0, -1).entries()) {
    hash = hashAfter(hash, message);
    if (roleOf(message) === "model") hashes.push({ length: i + 1, hash });
  }
  for (const { length, hash: wanted } of hashes.toReversed()) {
    // Of several with the same texts the latest: it stays the longest.
    const query = "SELECT max(turn) AS turn FROM prefixes WHERE hash = ?";
    const turn = db.read<{ turn: number | null }>(query, wanted)[0]?.turn ?? null;
    if (turn !== null) return { parent: turn, messages: messages.slice(length) };
  }
  return { parent: null, messages: [...messages] };
}

/** Lets a turn be found: `texts` are its messages and its reply. One whose parent cannot be found is not either. */
export function addPrefix(db: Database, turn: number, parent: number | null, texts: readonly ChatMessage[]): void {
  const before = parent === null ? "" : hashOf(db, parent);
  if (before === undefined) return;
  db.write(
    `the prefix of turn ${turn}`,
    "INSERT INTO prefixes (hash, turn) VALUES (?, ?)",
    texts.reduce(hashAfter, before),
    turn,
  );
}

export function deletePrefix(db: Database, turn: number): void {
  db.write(`the prefix of turn ${turn}`, "DELETE FROM prefixes WHERE turn = ?", turn);
}

function hashOf(db: Database, turn: number): string | undefined {
  return db.read<{ hash: string }>("SELECT hash FROM prefixes WHERE turn = ?", turn)[0]?.hash;
}

function hashAfter(before: string, message: ChatMessage): string {
  return bytesToHex(sha256(new TextEncoder().encode(JSON.stringify([before, roleOf(message), message.content]))));
}
