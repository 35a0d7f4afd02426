// Turns of branches and messages of turns, looked up by whoever only has their numbers.
import { GriffinError } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { toolsText } from "../model/tool-text.ts";
import { firstItem, keptTexts } from "./items.ts";
import { hasSameText } from "./prefixes.ts";
import { orDamaged } from "./parts.ts";
import type { ToolUse } from "./protocol.ts";
import type { Store, TurnRow } from "./store.ts";
import { toldTools } from "./turn-format.ts";
import { branchHead } from "./view.ts";

/** A message of a turn: item 0 is its reply. */
export interface MessagePlace {
  number: number;
  item: number;
}

/** Refuses a turn that a branch does not have. */
export function checkIsOn(store: Store, branch: number, turn: number): void {
  const head = branchHead(store, branch);
  if (store.runningTurn(branch) === turn || (head !== null && store.keptPath(head).includes(turn))) return;
  throw new GriffinError("not_found", "There is no such item on this branch.");
}

/** The turn that runs on a branch, or else the last one that replied; null where there is none. */
export function latestReply(store: Store, branch: number): number | null {
  const head = branchHead(store, branch);
  const path = head === null ? [] : store.keptPath(head);
  return store.runningTurn(branch) ?? path.findLast((turn) => store.step(turn)?.kind === "reply") ?? null;
}

/** The messages at these places; null for what is not there, or not whole yet, and for all that is too long together. */
export function messagesAt(store: Store, places: readonly MessagePlace[], mostLength: number): (ChatMessage | null)[] {
  const rows = new Map<number, TurnRow | null>();
  let length = 0;
  return places.map(({ number, item }) => {
    if (!rows.has(number))
      rows.set(
        number,
        orDamaged(() => store.turn(number)),
      );
    const row = rows.get(number);
    const message = row ? messageAt(row, item) : null;
    length += message?.content.length ?? 0;
    // One more than allowed is told, so that the caller sees what is wrong.
    return length - (message?.content.length ?? 0) > mostLength ? null : message;
  });
}

/** Whether all that was said up to a finished turn is exactly this, and it was told of these tools only, or of none. */
export function hasTexts(store: Store, turn: number, messages: readonly ChatMessage[], tools: ToolUse | null): boolean {
  const step = store.step(turn);
  if (step === null || step.removed || step.endPosition === null) return false;
  const path = orDamaged(() => store.path(turn));
  const told = tools === null ? null : toolsText(tools.list);
  const isWhole = path?.every(
    ({ kind, removed, removedItems, options }) =>
      kind !== "state" &&
      !removed &&
      !removedItems.length &&
      toldTools(options).every(({ content }) => content === told),
  );
  if (path === null || !isWhole) return false;
  const texts = path.flatMap(keptTexts);
  return texts.length === messages.length && texts.every((text, i) => hasSameText(text, messages[i]));
}

function messageAt({ kind, status, text, messages, removedItems }: TurnRow, item: number): ChatMessage | null {
  if (removedItems.includes(item)) return null;
  if (item > 0) return messages[item - 1 + firstItem(messages)] ?? null;
  const isWhole = kind === "reply" && status !== "in_progress" && status !== "failed";
  return isWhole ? { role: "assistant", content: text } : null;
}
