// The turns of a branch as a list of messages, oldest first.
import type { ListedTurn } from "../conversation/protocol.ts";
import { formatId, formatMessageId } from "./ids.ts";
import { hasReply, outputItem, outputText, splitMessages } from "./response-object.ts";
import { reportOf, responseUsage } from "./usage.ts";

/**
 * Each turn's input, then its reply with what the turn cost; all with the response they belong to. Instructions are no
 * items, as in OpenAI's lists; deleted ones are not there.
 */
export function conversationItems(object: string, turns: readonly ListedTurn[]) {
  return turns.flatMap((view) => {
    const inputs = inputItems(object, view);
    if (!hasReply(view)) return inputs;
    const reply = {
      ...outputItem(object, view, [outputText(view.text)]),
      response_id: formatId("response", { object, number: view.turn }),
      response_status: view.status,
      previous_response_id: view.parent === null ? null : formatId("response", { object, number: view.parent }),
      usage: responseUsage(view),
      ...reportOf(view),
    };
    return [...inputs, reply];
  });
}

/** What a turn was asked, without its instructions. */
export function inputItems(object: string, view: ListedTurn) {
  const response_id = formatId("response", { object, number: view.turn });
  const items = splitMessages(view).input.map(({ role, content }, index) => {
    const isReply = role === "assistant" || role === "model";
    return {
      id: formatMessageId({ object, number: view.turn }, index + 1),
      type: "message" as const,
      role: isReply ? ("assistant" as const) : role,
      status: "completed" as const,
      content: [isReply ? outputText(content) : { type: "input_text" as const, text: content }],
      response_id,
    };
  });
  return items.filter((_, index) => !view.removedItems.includes(index + 1));
}
