// What a turn cost, as every answer tells it.
import type { ListedTurn, StateOrigin } from "../conversation/protocol.ts";

/** Our own fields of an answer. */
export interface Report {
  /** How the turn came to its state; null until it is known. */
  state: StateOrigin | null;
  griffin: {
    state_bytes: number;
    restored_tokens: number;
    computed_tokens: number;
    rows_written: number;
    bytes_written: number;
    /** Where it ran. */
    placement: ListedTurn["placement"];
  } | null;
}

/** What was restored, computed and written for a turn; known when it is over. */
export function reportOf({ state, placement, usage, storage }: ListedTurn): Report {
  if (usage === null) return { state, griffin: null };
  return {
    state,
    griffin: {
      state_bytes: storage?.stateBytes ?? 0,
      restored_tokens: usage.cachedTokens,
      computed_tokens: usage.computedTokens,
      rows_written: storage?.rowsWritten ?? 0,
      bytes_written: storage?.bytesWritten ?? 0,
      placement,
    },
  };
}

/** `usage` of chat completions. */
export function chatUsage({ usage }: ListedTurn) {
  const { promptTokens = 0, cachedTokens = 0, completionTokens = 0 } = usage ?? {};
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

/** `usage` of responses; null until it is known. */
export function responseUsage({ usage }: ListedTurn) {
  if (usage === null) return null;
  const { promptTokens, cachedTokens, completionTokens } = usage;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}
