// The event of one token, the same while its turn runs and when it is read again from what was kept.
import type { Tokenizer } from "../model/tokenizer.ts";
import type { TurnEvent } from "./protocol.ts";
import type { TokenLogProbabilities } from "./store.ts";

/** The event of the token at `index` of a reply, which released `text`. */
export function tokenEvent(
  index: number,
  { token, text }: { token: number; text: string },
  details: TokenLogProbabilities | undefined,
  tokenizer: Tokenizer | null,
): TurnEvent & { type: "token" } {
  if (details === undefined) return { type: "token", index, token, text };
  const bytesOf = (id: number) => Array.from(tokenizer?.bytesOf(id) ?? []);
  const top = details.top.map((each) => ({ ...each, bytes: bytesOf(each.token) }));
  return { type: "token", index, token, text, bytes: bytesOf(token), logProbability: details.logProbability, top };
}
