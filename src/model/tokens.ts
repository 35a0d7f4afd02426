// Token ids as callers pass them.
import { GriffinError } from "../errors.ts";

/** Refuses ids that the vocabulary does not have; names the first one. */
export function checkTokens(what: string, tokens: readonly number[], vocabSize: number): void {
  const wrong = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= vocabSize);
  if (wrong >= 0) {
    throw new GriffinError(
      "invalid_argument",
      `${what}[${wrong}] must be an integer from 0 to ${vocabSize - 1}, got ${tokens[wrong]}.`,
    );
  }
}

/** Refuses a prompt with no tokens, or with ids that the vocabulary does not have. */
export function checkPrompt(tokens: readonly number[], vocabSize: number): void {
  if (tokens.length === 0) {
    throw new GriffinError("invalid_argument", "There must be at least one token to read, got none.");
  }
  checkTokens("tokens", tokens, vocabSize);
}
