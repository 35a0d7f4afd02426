// A conversation in this process: its last tokens and the state after them, so that a message reads only what is new.
import type { EdgeEngine } from "../engine/edge.ts";
import type { GeneratedToken, Turn, TurnResult } from "../engine/engine.ts";
import { GriffinError } from "../errors.ts";
import { renderPrompt } from "../model/chat-template.ts";
import type { State } from "../model/state.ts";
import type { Tokenizer } from "../model/tokenizer.ts";

export interface ConversationOptions extends Pick<Turn, "maxTokens" | "stop" | "sampling"> {
  /** Continue each text as it is, without the chat template. */
  raw?: boolean;
  /** Instructions put in front of the first message. */
  system?: string;
}

export interface Conversation {
  /** The reply to a message. Aborting `signal` ends it; the conversation then goes on from what was read and said. */
  reply(text: string, signal?: AbortSignal): AsyncGenerator<GeneratedToken, TurnResult, undefined>;
}

/** A conversation that has read nothing. Throws `unsupported` where the checkpoint cannot chat and `raw` is not set. */
export function createConversation(
  engine: EdgeEngine,
  tokenizer: Tokenizer,
  options: ConversationOptions,
): Conversation {
  const chatTokens = engine.chat;
  if (chatTokens === null && !options.raw) {
    throw new GriffinError("unsupported", "This checkpoint has no chat tokens: use --raw to continue a text.");
  }
  let state: State | undefined;
  let history: number[] = [];
  const render = (text: string) => {
    if (chatTokens === null || options.raw) return [engine.config.bosTokenId, ...tokenizer.encodeText(text)];
    const isFirst = state === undefined;
    const message = isFirst && options.system ? `${options.system}\n\n${text}` : text;
    const last = isFirst ? null : (history.at(-1) ?? null);
    return renderPrompt([{ role: "user", content: message }], tokenizer, chatTokens, last);
  };

  return {
    async *reply(text, signal) {
      const tokens = render(text);
      const { maxTokens, stop, sampling } = options;
      const turn: Turn = { tokens, history, maxTokens, sampling, ...(state && { state }), ...(stop && { stop }) };
      const events = engine.generate(turn, signal);
      const generated: number[] = [];
      let event = await events.next();
      for (; !event.done; event = await events.next()) {
        generated.push(event.value.token);
        yield event.value;
      }
      const { value: result } = event;
      ({ state } = result);
      // A prompt that was cancelled was read in part.
      history = [...history, ...tokens.slice(0, result.promptTokens), ...generated].slice(-engine.config.window);
      return result;
    },
  };
}
