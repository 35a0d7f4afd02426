// The turns of a branch as a list of items, oldest first: messages, calls of tools and their answers.
import type { ListedTurn } from "../conversation/protocol.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { readCall } from "../model/tool-text.ts";
import { formatId, formatItemId, formatMessageId } from "./ids.ts";
import { hasReply, outputText, replyItem, splitMessages } from "./response-object.ts";
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
      ...replyItem(object, view),
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
  const items = splitMessages(view).input.map((message, index) => ({
    ...inputItem(object, view.turn, message, index + 1),
    response_id,
  }));
  return items.filter((_, index) => !view.removedItems.includes(index + 1));
}

/** A message that a turn was given, as the item that it was. */
function inputItem(object: string, turn: number, { role, content, callId }: ChatMessage, index: number) {
  const id = { object, number: turn };
  const status = "completed" as const;
  if (role === "tool") {
    const type = "function_call_output" as const;
    return { id: formatItemId(type, id, index), type, call_id: callId ?? "", output: content, status };
  }
  const isReply = role === "assistant" || role === "model";
  const call = isReply && callId !== undefined ? readCall(content) : null;
  if (call !== null) {
    const type = "function_call" as const;
    const { name, arguments: text } = call;
    return { id: formatItemId(type, id, index), type, call_id: callId ?? "", name, arguments: text, status };
  }
  return {
    id: formatMessageId(id, index),
    type: "message" as const,
    role: isReply ? ("assistant" as const) : role,
    status,
    content: [isReply ? outputText(content) : { type: "input_text" as const, text: content }],
  };
}
