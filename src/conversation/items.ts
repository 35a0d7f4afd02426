// Items: the messages of a turn, one by one. Number 0 is the reply, 1 and up are what it replies to; instructions,
// which a turn may begin with, are none. Of a deleted item only its place stays.
import type { ChatMessage } from "../model/chat-template.ts";
import type { TurnRow } from "./store.ts";

/** Where among a turn's messages item 1 is. */
export const firstItem = (messages: readonly ChatMessage[]): number => (messages[0]?.role === "system" ? 1 : 0);

/** How many items of a turn were not deleted. */
export function keptItems({
  messages,
  removedItems,
  kind,
}: Pick<TurnRow, "messages" | "removedItems" | "kind">): number {
  return messages.length - firstItem(messages) + (kind === "reply" ? 1 : 0) - removedItems.length;
}

/** What is left of what a turn was asked. */
export function keptMessages({ messages, removedItems }: Pick<TurnRow, "messages" | "removedItems">): ChatMessage[] {
  const first = firstItem(messages);
  return messages.filter((_, index) => index < first || !removedItems.includes(index - first + 1));
}

/** The same, with what it replied. */
export function keptTexts(row: Pick<TurnRow, "messages" | "removedItems" | "kind" | "text">): ChatMessage[] {
  const hasReply = row.kind === "reply" && !row.removedItems.includes(0);
  return [...keptMessages(row), ...(hasReply ? [{ role: "model" as const, content: row.text }] : [])];
}
