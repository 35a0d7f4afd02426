// Log-probabilities in OpenAI's form. A token's text may be part of a character; its bytes are exact.
import type { TurnEvent } from "../conversation/protocol.ts";

export type TokenEvent = TurnEvent & { type: "token" };

interface WireToken {
  token: string;
  bytes: number[] | null;
  logprob: number;
}
export interface WireLogProbability extends WireToken {
  top_logprobs: WireToken[];
}

/** Of one token, or nothing where the log has none, as after a recovery. */
export function logProbabilitiesOf({ token, bytes, logProbability, top }: TokenEvent): WireLogProbability[] {
  if (logProbability === undefined) return [];
  return [{ ...wireToken({ token, bytes, logProbability }), top_logprobs: (top ?? []).map(wireToken) }];
}

function wireToken(of: { token: number; bytes?: number[]; logProbability: number }): WireToken {
  const { token, bytes, logProbability } = of;
  return {
    token: bytes === undefined ? `token_id:${token}` : new TextDecoder().decode(new Uint8Array(bytes)),
    bytes: bytes ?? null,
    logprob: logProbability,
  };
}
