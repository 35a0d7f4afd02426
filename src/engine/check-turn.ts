// The border of an engine: what a turn may ask for, checked before anything of it runs, at the edge and before it is
// sent to an origin alike.
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import { checkState, maxPosition, type State, type StateLayout } from "../model/state.ts";
import { checkPrompt, checkTokens } from "../model/tokens.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Turn } from "./engine.ts";
import type { OpenedModel } from "./opened-model.ts";
import { parseSampling, type SamplingOptions } from "./sampling.ts";

/** A reply is never endless, whoever asked for it. */
export const defaultMaxTokens = 1024;

/** The most likely tokens a caller may ask for at every place. */
const mostTopLogProbabilities = 100;

/** The model that a turn is checked against. */
export interface TurnModel {
  config: Config;
  stateLayout: StateLayout;
}

/** Refuses a turn that this model cannot run, whatever of it that may be; formats are for the edge to look at. */
export function checkWhole(
  turn: Turn & { maxTokens: number; state: State },
  model: TurnModel & Pick<OpenedModel, "tokenizer">,
): SamplingOptions {
  checkTurn(turn, model);
  checkReply(turn, model.tokenizer);
  return parseSampling(turn.sampling ?? {}, model.config.vocabSize);
}

/** Refuses tokens, lengths and states that this model cannot run. */
export function checkTurn(
  { tokens, history = [], replied = [], maxTokens, state }: TurnLengths,
  model: TurnModel,
): void {
  checkReading(tokens, maxTokens, state, model);
  checkTokens("history", history, model.config.vocabSize);
  checkTokens("replied", replied, model.config.vocabSize);
}

type TurnLengths = Pick<Turn, "tokens" | "history" | "replied"> & { maxTokens: number; state: State };

/** Refuses what cannot be read after `state`, or would not leave `maxTokens` positions behind it. */
export function checkReading(tokens: readonly number[], maxTokens: number, state: State, model: TurnModel): void {
  checkPrompt(tokens, model.config.vocabSize);
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 0)
    throw invalid(`maxTokens must be 0 or more, got ${maxTokens}.`);
  checkState(model.stateLayout, state);
  const end = state.position + tokens.length + maxTokens;
  if (end > maxPosition) throw invalid(`The conversation would reach position ${end}; the last one is ${maxPosition}.`);
}

/** Refuses stop strings and reports that no reply can have. */
export function checkReply(
  { stop = [], topLogProbabilities: top }: Pick<Turn, "stop" | "topLogProbabilities">,
  tokenizer: Tokenizer | null,
): void {
  if (stop.includes("")) throw invalid("A stop string must not be empty.");
  if (stop.length > 0 && tokenizer === null) throw invalid("Stop strings need a tokenizer; this checkpoint has none.");
  if (top !== undefined && !(Number.isInteger(top) && top >= 0 && top <= mostTopLogProbabilities)) {
    throw invalid(`topLogProbabilities must be an integer from 0 to ${mostTopLogProbabilities}, got ${top}.`);
  }
}

const invalid = (message: string) => new GriffinError("invalid_argument", message);
