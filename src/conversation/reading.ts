// What a turn reads: the past from the state that is kept of it, or a state that many chats share, then its own messages.
import type { Turn } from "../engine/engine.ts";
import type { PlacedEngine, PlacedTurn } from "../engine/placed.ts";
import { GriffinError } from "../errors.ts";
import { renderPrompt } from "../model/chat-template.ts";
import type { LiveTurn } from "./live-turn.ts";
import type { Moderation } from "./moderation.ts";
import type { StateOrigin, TurnOptions } from "./protocol.ts";
import { recall, recentTokens, type Past } from "./recall.ts";
import type { TurnHost } from "./run-turn.ts";
import { sharedStart } from "./shared-start.ts";
import type { TurnRow } from "./store.ts";
import { formatOf, toldTools } from "./turn-format.ts";

export interface Reading {
  turn: PlacedTurn;
  /** How the turn comes to its state. */
  origin: StateOrigin;
  /** The turn with which that state is kept. */
  base: number | null;
  /** Tokens that the state has read. */
  position: number;
  /** Of these, those that were read for this turn, and are kept for others. */
  newTokens: number;
  /** What the turn's own messages became. */
  prompt: number[];
  /** What is to be read where nothing is shared. */
  unshared: number[];
}

/** Finds out what a turn reads, once the messages have been let through, and its tokens can be paid for. */
export async function readingOf(
  host: TurnHost,
  live: LiveTurn,
  row: TurnRow,
  engine: PlacedEngine,
  moderation: Moderation | null,
): Promise<Reading> {
  const { store, env } = host;
  const { options } = row;
  const { tokenizer, chat, config } = engine;
  if (tokenizer === null || chat === null) {
    throw new GriffinError("unsupported", `The model "${options.model}" has no tokenizer or no chat tokens.`);
  }
  const past = recall(store, row.parent, engine);
  const messages = [...past.messages, ...toldTools(options), ...row.messages];
  if (moderation?.input) await moderation.check(messages.map(({ content }) => content).join("\n"));
  const prompt = renderPrompt(messages, tokenizer, chat, past.lastToken);
  const unshared = [...past.tokens, ...prompt];
  await host.charge.cover(unshared.length + options.maxTokens);

  const start = isCold(past) ? await sharedStart(messages, prompt, engine, options, env) : null;
  if (start?.isNew) live.sharedTokens = start.state.position;
  const state = start?.state ?? past.state;
  const position = state?.position ?? 0;
  const ownHistory = () =>
    options.repetitionPenalty === 1 ? [] : recentTokens(store, past.base, engine, config.window);
  return {
    turn: {
      tokens: start === null ? unshared : prompt.slice(position),
      state,
      history: start === null ? ownHistory() : prompt.slice(Math.max(0, position - config.window), position),
      ...limitsOf(options),
      isBatch: options.isBatch,
      isBegun: row.attempts > 1 || options.background,
      isLast: !options.store,
    },
    origin: start !== null && live.sharedTokens === 0 ? "shared" : past.origin,
    base: past.base,
    position,
    newTokens: start === null ? 0 : live.sharedTokens,
    prompt,
    unshared,
  };
}

const limitsOf = (options: TurnOptions) => ({
  maxTokens: options.maxTokens,
  stop: options.stop,
  format: formatOf(options),
  sampling: samplingOf(options),
  topLogProbabilities: options.topLogProbabilities ?? undefined,
});

/** Whether nothing was read and nothing but the turn's own messages is to be read. */
const isCold = ({ state, tokens, messages, lastToken }: Past): boolean =>
  state === undefined && tokens.length === 0 && messages.length === 0 && lastToken === null;

/** The options that choose tokens, as the engine takes them. */
export function samplingOf(options: TurnOptions): NonNullable<Turn["sampling"]> {
  const { temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty } = options;
  const penalties = { frequencyPenalty, presencePenalty, repetitionPenalty };
  const logitBias = new Map(options.logitBias.map(({ token, bias }) => [token, bias]));
  return { temperature, topK, topP, minP, ...penalties, logitBias, seed: BigInt(options.seed) };
}
