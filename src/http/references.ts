// References to items of earlier responses in the input of one: clients that know them to be stored do not send them
// again. Each becomes its message. Where all that was said up to a referred reply is what a stored turn has behind it,
// the response goes on from that turn.
import type { Context } from "hono";
import type { ChatMessage } from "../model/chat-template.ts";
import type { AppEnv } from "./context.ts";
import { requestError } from "./errors.ts";
import { formatCallId, parseItemId, type ItemId } from "./ids.ts";
import type { Reference } from "./response-input.ts";
import type { ToolUse } from "../conversation/protocol.ts";
import { conversationStub } from "./stubs.ts";

/** A reference is short and its text is not: so much of it all together is read, in UTF-16 units. */
const mostReferredLength = 2 ** 22;

/** The turn that a list of messages goes on from, and what of them comes after it. */
export interface Continued {
  object: string;
  turn: number;
  messages: ChatMessage[];
}

/** The messages of an input, every reference replaced. Throws `invalid_argument` on one to what is not there. */
export async function resolveInput(
  context: Context<AppEnv>,
  input: readonly (ChatMessage | Reference)[],
): Promise<{ messages: ChatMessage[]; lastReply: { id: ItemId; index: number } | null }> {
  const references = input.flatMap((item, index) => ("id" in item ? [{ index, id: parsed(item.id, index) }] : []));
  const resolved = new Map<number, ChatMessage>();
  let length = 0;
  for (const [object, those] of Map.groupBy(references, ({ id }) => id.object)) {
    const found = await conversationStub(context, object).messagesAt(
      those.map(({ id }) => id),
      mostReferredLength,
    );
    for (const [i, { index, id }] of those.entries()) {
      const message = found[i] ?? null;
      if (message === null) throw unknown(index);
      length += message.content.length;
      if (length > mostReferredLength) throw tooMuch();
      resolved.set(index, id.item === 0 ? { ...message, callId: formatCallId(id) } : message);
    }
  }
  const messages = input.map((item, index) => ("id" in item ? (resolved.get(index) ?? fail(index)) : item));
  const lastReply = references.findLast(({ id }) => id.item === 0) ?? null;
  return { messages, lastReply };
}

/**
 * Whether `messages` up to the one at `index`, a reply, are all that a stored turn has behind it, its own reply last, and
 * it was told of no other tools.
 */
export async function continued(
  context: Context<AppEnv>,
  messages: readonly ChatMessage[],
  tools: ToolUse | null,
  { id, index }: { id: ItemId; index: number },
): Promise<Continued | null> {
  const rest = messages.slice(index + 1);
  if (rest.length === 0) return null;
  const { object, number: turn } = id;
  const isIt = await conversationStub(context, object).hasTexts(turn, messages.slice(0, index + 1), tools);
  return isIt ? { object, turn, messages: rest } : null;
}

function parsed(text: string, index: number): ItemId {
  const id = parseItemId(text);
  if (id === null) throw unknown(index);
  return id;
}

const unknown = (index: number) =>
  requestError("invalid_argument", `input[${index}].id: there is no stored item with this id.`, `input[${index}].id`);
const tooMuch = () =>
  requestError("invalid_argument", `input: what its references name is longer than ${mostReferredLength}.`, "input");

function fail(index: number): never {
  throw unknown(index);
}
