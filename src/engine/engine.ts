// Engine: what runs a turn, wherever the model is. Edge and origin implement it; conversations know nothing else.
import type { State } from "../model/state.ts";
import type { Format } from "./constraints/constraint.ts";
import type { TokenLogProbability } from "./log-probabilities.ts";
import type { SamplingOptions } from "./sampling.ts";

/** What a turn reads and how it replies. */
export interface Turn {
  /** Tokens to read before replying; at least one. */
  tokens: readonly number[];
  /** The state to go on from; it is not changed. An empty one unless told. */
  state?: State;
  /** Tokens of the conversation before `tokens`, as far back as repetition penalties shall look. */
  history?: readonly number[];
  /** Tokens of the reply that were generated before it was interrupted. They are yielded again, then it goes on. */
  replied?: readonly number[];
  /** The most tokens to generate, 1024 unless told; 0 only reads. */
  maxTokens?: number;
  /** Strings that end the reply; they are not part of it. */
  stop?: readonly string[];
  /** Tokens that end the reply; the model's own unless told. */
  stopTokens?: readonly number[];
  /** What the reply is held to; any text and token unless told. */
  format?: Format;
  /** Plain sampling at temperature 1 with a random seed unless told. */
  sampling?: Partial<SamplingOptions>;
  /** Report log-probabilities: of each token and of this many most likely ones beside it. */
  topLogProbabilities?: number;
  /** Nothing goes on from it: the data of its new state may be left out. */
  isLast?: boolean;
}

/** One generated token. */
export interface GeneratedToken {
  token: number;
  /** Text this token releases: empty while a character or a possible stop string is incomplete. */
  text: string;
  /** Of this token in the model's own distribution, before penalties, temperature and filters. */
  logProbability?: number;
  /** The most likely tokens at this place, best first. */
  top?: TokenLogProbability[];
}

export type FinishReason = "stop" | "length" | "cancelled";

export interface TurnResult {
  /** Text still held back when the reply ended. The reply is the tokens' texts and this. */
  text: string;
  finishReason: FinishReason;
  /** The token or string that ended the reply. */
  stoppedBy?: number | string;
  /** Holds everything read and generated, the last token included; of a turn that is the last one, perhaps no data. */
  state: State;
  promptTokens: number;
  /** Generated, a stop token included. */
  completionTokens: number;
  /** Tokens that ran through the model, counted where they ran. */
  computedTokens: number;
}

export interface Engine {
  /**
   * Runs a turn: yields each token as it comes, returns the new state. Aborting `signal` ends the turn after the step
   * that runs, with what was generated so far. Whoever does not read it to its end calls `return()`: until then, or until
   * it was silent for a minute and others wait, it holds a slot.
   * @throws GriffinError `invalid_argument`, `invalid_state`, or `cancelled` when aborted before the turn had a slot
   */
  generate(turn: Turn, signal?: AbortSignal): AsyncGenerator<GeneratedToken, TurnResult, undefined>;
}
