// What went wrong, for people.
import { GriffinError, type ErrorCode } from "../errors.ts";

const words: Partial<Record<ErrorCode, string>> = {
  body_too_large: "This message is too long for the server.",
  invalid_api_key: "This server asks for an API key, and there is none in this browser, or not a good one.",
  rate_limited: "That is all this key may ask for this minute. Try again in a while.",
  conversation_busy: "A reply is still being written in this chat, perhaps in another window.",
  model_not_found: "The server does not have the model of this page.",
  not_found: "The server does not have this chat any more.",
};

/** A failure in words; the server's own where there are no better ones. */
export function inWords(error: unknown): string {
  if (error instanceof GriffinError) return words[error.code] ?? error.message;
  return `Something went wrong in this page: ${error instanceof Error ? error.message : String(error)}`;
}
