// What crosses between the HTTP layer and the object that completes prompts: plain data, as in protocol.ts.
import type { RanAt } from "../engine/placement.ts";
import type { ErrorCode } from "../errors.ts";
import type { TurnOptions } from "./protocol.ts";

/** Prompts of a request, and replies to all of them. */
export const mostChoices = 128;
/** Replies to one prompt. */
export const mostRepliesAPrompt = 16;
/** All replies of a request, in tokens. */
export const mostCompletionTokens = 65_536;
/**
 * Log-probabilities of a request, likeliest tokens counted one by one: all are in memory when the answer is whole. That
 * is 65 536 tokens with one beside each.
 */
export const mostLogProbabilities = 131_072;

export interface CompletionRequest {
  /** Texts, which the model's first token is put in front of, or tokens, which are taken as they are. */
  prompts: (string | number[])[];
  /** Replies to each prompt: choice `prompt · n + k` is drawn with the seed and k. */
  n: number;
  /** Whether a choice begins with its prompt. */
  echo: boolean;
  options: TurnOptions;
}

/** A token and how it is called where it stands for itself. */
export interface NamedToken {
  token: number;
  name: string;
  logProbability: number;
}

/** A token of a choice. Its probability is null where nothing came before it. */
export interface PlacedToken {
  token: number;
  name: string;
  /** Where its text begins in the choice's, in characters (code points). */
  offset: number;
  logProbability: number | null;
  /** The likeliest tokens at its place, best first. */
  top: NamedToken[];
}

/** One line of the stream of a completion. The last one is `done` or `failed`. */
export type CompletionEvent =
  /** More of these choices. `tokens` is null where no log-probabilities were asked for. */
  | { type: "piece"; choices: number[]; text: string; tokens: PlacedToken[] | null }
  /** A choice is whole; `rest` is text that was still held back. */
  | { type: "ended"; choice: number; rest: string; finishReason: "stop" | "length" }
  | { type: "done"; usage: CompletionUsage }
  | { type: "failed"; code: ErrorCode; message: string };

export interface CompletionUsage {
  /** Each prompt counted once. */
  promptTokens: number;
  completionTokens: number;
  /** Tokens that ran through the model. */
  computedTokens: number;
  /** Where they ran; null before anything did. */
  placement: RanAt | null;
}
