// Spelling: the tokens of a reply become text, up to the token or the string that ends it. A pure function of the
// tokens, so a stream that is read again, or goes on after a crash, has the same pieces.
import type { Tokenizer } from "../model/tokenizer.ts";
import { createStopMatcher } from "./stop.ts";

export interface Spelling {
  /** Text that this token releases, and the token or string that ends the reply, if it does. */
  push(token: number): { text: string; stoppedBy?: number | string };
  /** Text still held back: an unfinished stop string or character is text after all. Nothing after a stop string. */
  end(): string;
}

/** The spelling of a reply before its first token; without a tokenizer all text is empty. */
export function createSpelling(
  tokenizer: Tokenizer | null,
  stop: readonly string[],
  stopTokens: readonly number[],
): Spelling {
  const decoder = tokenizer?.createDecoder();
  const matcher = createStopMatcher(stop);
  let isStopped = false;
  return {
    push(token) {
      if (stopTokens.includes(token)) return { text: "", stoppedBy: token };
      const released = matcher.push(decoder?.push(token) ?? "");
      isStopped = released.stoppedBy !== undefined;
      return released;
    },
    end: () => (isStopped ? "" : matcher.push(decoder?.end() ?? "").text + matcher.end()),
  };
}
