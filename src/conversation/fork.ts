// Forks: a branch that ends with a turn, or in the middle of one: then what the turn was asked up to there is put behind
// the turn before it, to be read with the next reply.
import { GriffinError } from "../errors.ts";
import { checkFinished } from "./accept.ts";
import { firstItem, keptMessages } from "./items.ts";
import type { ConversationView, ForkPoint, ItemsRequest } from "./protocol.ts";
import type { Store } from "./store.ts";
import { branchView, turnRow } from "./view.ts";

/** What names a request that forks. */
export type ForkRepeat = Pick<ItemsRequest, "repeatKey" | "repeatWithinMs">;
export const noRepeat: ForkRepeat = { repeatKey: null, repeatWithinMs: 0 };

/** A new branch, or the one that the same request made before. `point` null: at the end of `branch`. */
export function forkBranch(
  store: Store,
  branch: number,
  point: ForkPoint | null,
  { repeatKey, repeatWithinMs }: ForkRepeat,
): ConversationView {
  const { head, metadata } = branchView(store, branch);
  const nowMs = Date.now();
  if (repeatKey !== null && repeatWithinMs > 0) {
    const known = store.branchOfRepeatKey(repeatKey, nowMs - repeatWithinMs);
    if (known !== null) return branchView(store, known);
  }
  const { turn, item } = point ?? { turn: head, item: null };
  const made = { parentBranch: branch, metadata, repeatKey, nowMs };
  if (turn === null || item === null || isLastItem(store, turn, item)) {
    if (turn !== null && point !== null) checkFinished(store, turn);
    return store.createBranch({ ...made, head: turn });
  }
  const row = turnRow(store, turn);
  const messages = keptMessages({ ...row, messages: row.messages.slice(0, firstItem(row.messages) + item) });
  // Nothing was told here of tools yet, and nothing is charged.
  const items = { messages, options: { ...row.options, tools: null, chargedTo: null, notify: null }, repeatKey: null };
  return branchView(store, store.createBranchWith({ ...made, head: row.parent }, items));
}

/** Whether a turn ends with an item. Throws `not_found` where it does not have it. */
function isLastItem(store: Store, turn: number, item: number): boolean {
  const { kind, messages, removedItems } = turnRow(store, turn);
  const inputs = messages.length - firstItem(messages);
  const isThere = item <= inputs && !removedItems.includes(item) && (item > 0 || kind === "reply");
  if (!isThere) throw new GriffinError("not_found", "There is no such item here.");
  return item === 0 || (kind === "items" && item === inputs);
}
