// The messages of a chat completion as callers write them, and as the conversation keeps them. A call of a tool that a
// client sends back is the very text that the model wrote, so that the stored prefix is found.
import { z } from "zod";
import type { ChatMessage } from "../model/chat-template.ts";
import { callText, toolNameShape } from "../model/tool-text.ts";
import { jsonForm, written } from "./openapi/written.ts";
import { unsupported } from "./read-body.ts";
import { contentOf } from "./turn-fields.ts";
import { typedUnion } from "./typed-union.ts";

const isAbsent = (value: unknown) => value === undefined || value === null || (Array.isArray(value) && !value.length);
const noFunctions = { message: "functions are not supported, tools are", ...unsupported };

const toolCall = z.object({
  id: z.string().min(1),
  type: z.literal("function"),
  function: z.object({ name: z.string().regex(toolNameShape, "expected the name of a tool"), arguments: z.string() }),
});

const message = z
  .object({
    role: z
      .string()
      .refine((role) => role !== "function", noFunctions)
      .pipe(z.enum(["system", "developer", "user", "assistant", "tool"])),
    function_call: z.unknown().refine(isAbsent, noFunctions).optional(),
    tool_calls: z.array(typedUnion(["function"], toolCall)).nullish(),
    tool_call_id: z.string().nullish(),
    content: contentOf("text"),
  })
  .refine(({ role, tool_calls: calls }) => role === "assistant" || !calls?.length, {
    message: "only assistants call tools",
    path: ["tool_calls"],
  })
  .refine(({ role, tool_call_id: id }) => role !== "tool" || typeof id === "string", {
    message: "expected the id of the call that this answers",
    path: ["tool_call_id"],
  });

/** Beside calls there need not be a text. */
const filled = z.preprocess((value) => {
  if (typeof value !== "object" || value === null || isAbsent(Reflect.get(value, "tool_calls"))) return value;
  return isAbsent(Reflect.get(value, "content")) ? { ...value, content: "" } : value;
}, message);

/** `messages`, in order; every answer of a tool behind the call that it answers. */
export const chatMessages = z
  .array(written(filled, jsonForm(message)), "expected a list of messages")
  .min(1, "expected at least one message")
  .superRefine((messages, context) => {
    const known = new Set<string>();
    for (const [index, { role, tool_calls: calls, tool_call_id: id }] of messages.entries()) {
      for (const call of calls ?? []) known.add(call.id);
      if (role !== "tool" || known.has(id ?? "")) continue;
      const issue = "there is no call with this id in the messages before it";
      context.addIssue({ code: "custom", message: issue, path: [index, "tool_call_id"] });
    }
  });

/** The messages as the conversation takes them. */
export function toMessages(messages: z.infer<typeof chatMessages>): ChatMessage[] {
  return messages.map(({ role, content, tool_calls: calls, tool_call_id: id }): ChatMessage => {
    if (role === "tool") return { role, content, callId: id ?? "" };
    const texts = (calls ?? []).map((call) => callText(call.function.name, call.function.arguments));
    return { role, content: [...(content === "" && texts.length > 0 ? [] : [content]), ...texts].join("\n") };
  });
}
