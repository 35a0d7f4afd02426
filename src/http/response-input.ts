// The input of a response as callers write it: a text, or items, which become messages. A call of a tool is the text that
// the model would have written; an answer to one must answer a call that is there. References are resolved elsewhere.
import { z } from "zod";
import type { ChatMessage } from "../model/chat-template.ts";
import { callText, toolNameShape } from "../model/tool-text.ts";
import { requestError } from "./errors.ts";
import { turnOfCall } from "./ids.ts";
import { jsonForm, written } from "./openapi/written.ts";
import { contentOf } from "./turn-fields.ts";
import { typedUnion } from "./typed-union.ts";

const callId = z.string().min(1).max(128);
const item = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("message"),
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: contentOf("input_text", "output_text", "text"),
  }),
  z.object({
    type: z.literal("function_call"),
    call_id: callId,
    name: z.string().regex(toolNameShape, "expected the name of a tool"),
    arguments: z.string(),
  }),
  z.object({
    type: z.literal("function_call_output"),
    call_id: callId,
    output: contentOf("input_text", "output_text", "text"),
  }),
]);
type Item = z.infer<typeof item>;

/** An item of an earlier response, by its id. */
const reference = z.object({ type: z.literal("item_reference"), id: z.string() });
export type Reference = z.infer<typeof reference>;

const itemTypes = ["message", "function_call", "function_call_output"];

/** An item that stands for itself, as a message. */
export const messageItem: z.ZodType<ChatMessage> = written(
  typedUnion(itemTypes, item, "message").transform(toMessage),
  jsonForm(item),
);

const inputItem = z.union([item, reference]);
const items = z.array(
  typedUnion([...itemTypes, "item_reference"], z.discriminatedUnion("type", [...item.options, reference]), "message"),
  "expected a text or a list of items",
);

/** `input` of a response. */
export const responseInput = written(
  z.preprocess(
    (value) => (typeof value === "string" ? [{ role: "user", content: value }] : value),
    items.transform((list) => list.map((each) => (each.type === "item_reference" ? each : toMessage(each)))),
  ),
  { anyOf: [{ type: "string" }, jsonForm(z.array(inputItem))] },
);

function toMessage(given: Item): ChatMessage {
  if (given.type === "message") return { role: given.role, content: given.content };
  const { call_id: id } = given;
  if (given.type === "function_call_output") return { role: "tool", content: given.output, callId: id };
  return { role: "assistant", content: callText(given.name, given.arguments), callId: id };
}

export interface Answered {
  /** Turns of the object whose calls are answered. */
  answers: number[];
  /** The field at fault where `answers[i]` is. */
  fields: (ours: string) => string | undefined;
}

/**
 * The calls that the input answers from item `start` on and does not hold itself there. Fails where one can be no call of
 * the object.
 */
export function answeredCalls(input: readonly ChatMessage[], object: string, start = 0): Answered {
  const answered: { turn: number; field: string }[] = [];
  for (const [index, { role, callId: id }] of input.entries()) {
    if (index < start || role !== "tool" || id === undefined) continue;
    const before = input.slice(start, index);
    if (before.some((message) => message.role !== "tool" && message.callId === id)) continue;
    const field = `input[${index}].call_id`;
    const call = turnOfCall(id);
    if (call?.object !== object) {
      throw requestError("invalid_argument", `${field}: there is no call with this id before this response.`, field);
    }
    answered.push({ turn: call.number, field });
  }
  const fields = (ours: string) => answered.find((_, index) => ours === `answers[${index}]`)?.field;
  return { answers: answered.map(({ turn }) => turn), fields };
}
