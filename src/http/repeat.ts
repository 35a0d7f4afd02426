// Repeated requests. Clients send a request again when no answer came; the turn must not be there twice.
// `Idempotency-Key` says which requests are one. openai's clients send none, but count their attempts in
// `x-stainless-retry-count`: an attempt after the first looks for the latest turn that the same request began. Without
// either, equal requests are two turns.
import type { HonoRequest } from "hono";
import { requestError } from "./errors.ts";
import { hashedName } from "./object-names.ts";

const keyHeader = "idempotency-key";
const keyLimit = 255;
const keyLifetimeMs = 24 * 3_600_000;
/** openai's clients give up an attempt after ten minutes and wait seconds before the next. */
const retryWithinMs = 15 * 60_000;

export interface Repeat {
  repeatKey: string;
  repeatWithinMs: number;
  /** Whether the caller named the request, so that an object of its own can be found again by `repeatKey`. */
  isNamed: boolean;
}

/** Under which key a turn of this request is kept, and how far back to look for one. */
export async function repeatOf(request: HonoRequest, body: string): Promise<Repeat> {
  const key = request.header(keyHeader);
  if (key !== undefined) {
    if (key === "" || key.length > keyLimit) {
      throw requestError("invalid_argument", `${keyHeader}: expected 1 to ${keyLimit} characters.`, keyHeader);
    }
    const repeatKey = await hashedName("named", key, request.path, body);
    return { repeatKey, repeatWithinMs: keyLifetimeMs, isNamed: true };
  }
  const attempts = Number(request.header("x-stainless-retry-count") ?? 0);
  const repeatKey = await hashedName("body", request.path, body);
  return { repeatKey, repeatWithinMs: attempts > 0 ? retryWithinMs : 0, isNamed: false };
}
