// Texts to tokens and back, and how many a turn would read, without running one.
import type { PlacedEngine } from "../engine/placed.ts";
import { GriffinError } from "../errors.ts";
import { renderPrompt, type ChatMessage } from "../model/chat-template.ts";
import { checkTokens } from "../model/tokens.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { placeOf } from "./accept.ts";
import { blamed } from "./blame.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import type { ToolUse, TurnPlace } from "./protocol.ts";
import { recall } from "./recall.ts";
import type { Store } from "./store.ts";
import { toldOnce, toldTools } from "./turn-format.ts";

/** What is encoded: a text by itself, or the prompt of a chat. */
export type Encoded =
  | { kind: "text"; model: string; text: string; addBos: boolean }
  | { kind: "chat"; model: string; messages: ChatMessage[] };

/** The turn whose tokens are counted. */
export interface Counted {
  model: string;
  place: TurnPlace;
  messages: ChatMessage[];
  tools: ToolUse | null;
}

/** Throws `unsupported` where the model lacks what it takes. */
export async function encodeTokens(request: Encoded, env: Env): Promise<number[]> {
  const engine = await engineOf(request.model, env);
  const tokenizer = tokenizerOf(engine, request.model);
  if (request.kind === "chat") return renderPrompt(request.messages, tokenizer, chatOf(engine, request.model));
  return request.addBos ? encodeRaw(request.text, engine, tokenizer) : tokenizer.encodeText(request.text);
}

/** Throws `invalid_argument` on ids that the vocabulary does not have. */
export async function decodeTokens(model: string, tokens: readonly number[], env: Env): Promise<string> {
  const engine = await engineOf(model, env);
  blamed("tokens", () => checkTokens("tokens", tokens, engine.config.vocabSize));
  return tokenizerOf(engine, model).decode(tokens);
}

/** The tokens that a turn at this place would report to have read: history, messages, template. `store`: null begins anew. */
export async function countTokens(store: Store | null, counted: Counted, env: Env): Promise<number> {
  const { model, place, messages } = counted;
  const engine = await engineOf(model, env);
  const [tokenizer, chat] = [tokenizerOf(engine, model), chatOf(engine, model)];
  const spoken = (tools: ToolUse | null) => [...toldTools({ tools }), ...messages];
  if (store === null) return renderPrompt(spoken(counted.tools), tokenizer, chat).length;
  const { parent } = placeOf(store, { place, messages });
  const past = recall(store, parent, engine);
  const said = spoken(toldOnce(counted.tools, store, parent));
  const prompt = renderPrompt([...past.messages, ...said], tokenizer, chat, past.lastToken);
  return (past.state?.position ?? 0) + past.tokens.length + prompt.length;
}

/** A text as a raw prompt: nothing but the token that every text of the model begins with stands before it. */
export function encodeRaw(text: string, { config }: PlacedEngine, tokenizer: Tokenizer): number[] {
  return [config.bosTokenId, ...tokenizer.encodeText(text)];
}

/** Throws `unsupported` where the model has none. */
export function tokenizerOf({ tokenizer }: PlacedEngine, model: string): Tokenizer {
  if (tokenizer === null) throw new GriffinError("unsupported", `The model "${model}" has no tokenizer.`);
  return tokenizer;
}

function chatOf({ chat }: PlacedEngine, model: string) {
  if (chat === null) throw new GriffinError("unsupported", `The model "${model}" has no chat tokens.`);
  return chat;
}
