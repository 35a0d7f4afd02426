// The chat template of Gemma's family, in token ids:
//   <bos><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n{text}<end_of_turn>\n…
// Control tokens are put in by id; texts go through `encodeText`, which cannot produce one.
import { GriffinError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { responseText } from "./tool-text.ts";

/** The control tokens of the template. */
export interface ChatTokens {
  bosTokenId: number;
  startOfTurnTokenId: number;
  endOfTurnTokenId: number;
}

/** `assistant` is another word for `model`, `developer` for `system`. What a tool answered stands in a user's turn. */
export const chatRoles = ["system", "developer", "user", "model", "assistant", "tool"] as const;
export type ChatRole = (typeof chatRoles)[number];

export interface ChatMessage {
  role: ChatRole;
  content: string;
  /** Of a tool's answer, and of a call that a client sent: the call's id. It is not rendered. */
  callId?: string;
}

/**
 * Ids that append messages to a conversation, ready for the model's reply. `lastTokenId` is the last token that the
 * conversation's state has read; null begins one. A reply that was cut short is closed first. System texts go in front
 * of the next user's text, or by themselves where a reply comes next: so a conversation has the same ids whether it is
 * rendered at once or reply by reply.
 */
export function renderPrompt(
  messages: readonly ChatMessage[],
  tokenizer: Tokenizer,
  chat: ChatTokens,
  lastTokenId: number | null = null,
): number[] {
  const turns = renderTurns(turnsOf(messages), tokenizer, chat);
  if (lastTokenId === null) return [chat.bosTokenId, ...turns];
  const closing = lastTokenId === chat.endOfTurnTokenId ? [] : [chat.endOfTurnTokenId];
  return [...closing, ...tokenizer.encodeText("\n"), ...turns];
}

/**
 * Ids that all chats with these system texts begin with, up to the first user's own text; none where no such texts come
 * first, or where that text melts into the last of them, so that `prompt`, the chat's own ids, does not begin so.
 */
export function renderSystemPrefix(
  messages: readonly ChatMessage[],
  prompt: readonly number[],
  tokenizer: Tokenizer,
  chat: ChatTokens,
): number[] {
  const texts = leadingSystemTexts(messages);
  if (texts.length === 0 || messages[texts.length]?.role !== "user") return [];
  const opening = [chat.startOfTurnTokenId, ...tokenizer.encodeText("user"), ...tokenizer.encodeText("\n")];
  const prefix = [chat.bosTokenId, ...opening, ...tokenizer.encodeText([...texts, ""].join("\n\n"))];
  return prefix.length < prompt.length && prefix.every((token, i) => prompt[i] === token) ? prefix : [];
}

/** The system texts that a chat begins with. */
export function leadingSystemTexts(messages: readonly ChatMessage[]): string[] {
  const count = messages.findIndex(({ role }) => role !== "system" && role !== "developer");
  return messages.slice(0, count < 0 ? undefined : count).map(({ content }) => content);
}

interface Turn {
  role: "user" | "model";
  text: string;
}

function turnsOf(messages: readonly ChatMessage[]): Turn[] {
  const turns: Turn[] = [];
  const system: string[] = [];
  const endSystem = () => {
    if (system.length > 0) turns.push({ role: "user", text: system.splice(0).join("\n\n") });
  };
  for (const { role, content } of messages) {
    if (role === "system" || role === "developer") system.push(content);
    else if (role === "user" || role === "tool") {
      const text = role === "tool" ? responseText(content) : content;
      turns.push({ role: "user", text: [...system.splice(0), text].join("\n\n") });
    } else if (role === "model" || role === "assistant") {
      endSystem();
      turns.push({ role: "model", text: content });
    } else {
      throw new GriffinError(
        "invalid_argument",
        `A message's role must be one of ${chatRoles.join(", ")}; got ${JSON.stringify(role)}.`,
      );
    }
  }
  endSystem();
  if (turns.length === 0) throw new GriffinError("invalid_argument", "A prompt needs at least one message, got none.");
  return turns;
}

/** Each turn, then the opening of the model's. A text is encoded by itself, so it has the same ids in any company. */
function renderTurns(
  turns: readonly Turn[],
  tokenizer: Tokenizer,
  { startOfTurnTokenId, endOfTurnTokenId }: ChatTokens,
) {
  const newline = tokenizer.encodeText("\n");
  const opening = (role: Turn["role"]) => [startOfTurnTokenId, ...tokenizer.encodeText(role), ...newline];
  return [
    ...turns.flatMap(({ role, text }) => [
      ...opening(role),
      ...tokenizer.encodeText(text),
      endOfTurnTokenId,
      ...newline,
    ]),
    ...opening("model"),
  ];
}
