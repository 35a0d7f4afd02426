// One line of JSON for each turn, when it is over: ids, status, tokens, milliseconds. Nothing anybody said.
import type { TurnView } from "./protocol.ts";

/** The line. `object` is the Durable Object's id, not its name: whoever knows the name may read the chat. */
export function turnLine(object: string, view: TurnView): string {
  const { turn, branch, status, state, placement, usage, storage, options, error, createdMs, finishedMs } = view;
  return JSON.stringify({
    event: "turn",
    object,
    turn,
    branch,
    model: options.model,
    turn_status: status,
    error_code: error?.code,
    state,
    placement,
    prompt_tokens: usage?.promptTokens,
    cached_tokens: usage?.cachedTokens,
    computed_tokens: usage?.computedTokens,
    completion_tokens: usage?.completionTokens,
    rows_written: storage?.rowsWritten,
    bytes_written: storage?.bytesWritten,
    ms: (finishedMs ?? createdMs) - createdMs,
  });
}
