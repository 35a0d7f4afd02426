// The stored prefix: clients of chat completions send the whole history each time, and what of it was computed before is
// found by comparing texts. A mismatch anywhere makes the prefix shorter, never wrong.
import type { ChatMessage } from "../model/chat-template.ts";
import type { Store } from "./store.ts";

export interface Prefix {
  /** The turn to go on from; null when nothing matches. */
  parent: number | null;
  /** The messages that come after it; at least one. */
  messages: ChatMessage[];
}

const isSystem = (role: string) => role === "system" || role === "developer";
const isModel = (role: string) => role === "model" || role === "assistant";
const isSame = (a: ChatMessage, b: ChatMessage | undefined) =>
  b !== undefined &&
  a.content === b.content &&
  (a.role === b.role || (isSystem(a.role) && isSystem(b.role)) || (isModel(a.role) && isModel(b.role)));

/** The longest path of finished turns whose messages and replies are how `messages` begins. */
export function longestPrefix(store: Store, messages: readonly ChatMessage[]): Prefix {
  let best: { parent: number | null; length: number } = { parent: null, length: 0 };
  const visit = (parent: number | null, begin: number) => {
    for (const child of store.children(parent)) {
      const end = begin + child.messages.length;
      const reply = messages[end];
      const isStored = child.status === "completed" || child.status === "incomplete" || child.status === "cancelled";
      if (!isStored || child.endPosition === null || reply === undefined) continue;
      const isMatch =
        child.messages.every((message, i) => isSame(message, messages[begin + i])) &&
        isSame({ role: "model", content: child.text }, reply);
      if (!isMatch || end + 1 >= messages.length) continue;
      if (end + 1 > best.length) best = { parent: child.turn, length: end + 1 };
      visit(child.turn, end + 1);
    }
  };
  visit(null, 0);
  return { parent: best.parent, messages: messages.slice(best.length) };
}
