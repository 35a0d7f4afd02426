// A `tokens` frame: what was generated since the last one, and the reports on it where the turn asked for them.
import { checkShape, parseJson } from "../../model/parse-json.ts";
import type { GeneratedToken } from "../engine.ts";
import { originFailed, tokensPayload } from "./protocol.ts";

/** A generated token, not yet spelt. */
export type TokenNews = Omit<GeneratedToken, "text">;

/** The tokens in a frame's payload, in order. Throws `origin_failed` for what cannot be. */
export function decodeTokens(payload: Uint8Array, vocabSize: number): TokenNews[] {
  const name = "the origin's tokens";
  const json = parseJson(new TextDecoder().decode(payload), name, "origin_failed");
  const { tokens, log_probabilities: own, top } = checkShape(tokensPayload, json, name, "origin_failed");
  if (tokens.some((token) => token >= vocabSize)) throw originFailed("The origin sent a token that the model has not.");
  if ([own, top].some((reports) => reports !== undefined && reports.length !== tokens.length)) {
    throw originFailed(`The origin reports on another number of tokens than the ${tokens.length} that it sent.`);
  }
  return tokens.map((token, i) => ({
    token,
    ...(own && { logProbability: own[i] }),
    ...(top && { top: (top[i] ?? []).map(([id, logProbability]) => ({ token: id, logProbability })) }),
  }));
}
