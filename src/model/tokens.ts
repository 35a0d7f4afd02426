// Token ids as callers pass them.
import { GriffinError } from "../errors.ts";

/** Refuses an empty sequence, and ids that the vocabulary does not have; names the first wrong one. */
export function checkTokens(tokens: readonly number[], vocabSize: number): void {
  if (tokens.length === 0)
    throw new GriffinError("invalid_argument", "There must be at least one token to read, got none.");
  const wrong = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= vocabSize);
  if (wrong >= 0) {
    throw new GriffinError(
      "invalid_argument",
      `Token ${wrong} of the sequence must be an integer from 0 to ${vocabSize - 1}, got ${tokens[wrong]}.`,
    );
  }
}
