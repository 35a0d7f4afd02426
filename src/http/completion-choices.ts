// A completion in OpenAI's legacy forms: whole, and as the chunks of a stream.
import type { CompletionEvent, CompletionUsage, PlacedToken } from "../conversation/completion-protocol.ts";
import { GriffinError } from "../errors.ts";

/** What every chunk and the whole have in common. */
export interface CompletionHead {
  id: string;
  object: "text_completion";
  /** Seconds. */
  created: number;
  model: string;
}

/** Log-probabilities, a list for each kind; null where nothing came before a token. */
interface Logprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

interface Choice {
  index: number;
  text: string;
  logprobs: Logprobs | null;
  finish_reason: "stop" | "length" | null;
}

/** The whole, choices in order. Throws the error of a completion that failed. */
export async function textCompletion(head: CompletionHead, count: number, events: AsyncIterable<CompletionEvent>) {
  const choices = Array.from({ length: count }, (_, index): Choice => {
    return { index, text: "", logprobs: null, finish_reason: null };
  });
  const of = (index: number) => choices[index] ?? fail("a choice that nobody asked for");
  for await (const event of events) {
    if (event.type === "piece") {
      for (const index of event.choices) {
        const choice = of(index);
        choice.text += event.text;
        if (event.tokens !== null) addLogprobs((choice.logprobs ??= noLogprobs()), event.tokens);
      }
    } else if (event.type === "ended") {
      const choice = of(event.choice);
      choice.text += event.rest;
      choice.finish_reason = event.finishReason;
    } else if (event.type === "done") {
      return { ...head, choices, ...costOf(event.usage) };
    } else throw new GriffinError(event.code, event.message);
  }
  return fail("no end");
}

/** The chunks as they come. With `includeUsage` one more comes last, without choices; all others then say `usage: null`. */
export async function* completionChunks(
  head: CompletionHead,
  events: AsyncIterable<CompletionEvent>,
  includeUsage: boolean,
) {
  const noUsage = includeUsage ? { usage: null } : {};
  const chunk = (choice: Choice) => ({ ...head, choices: [choice], ...noUsage });
  for await (const event of events) {
    if (event.type === "piece") {
      const { text } = event;
      for (const index of event.choices) {
        const logprobs = event.tokens === null ? null : addLogprobs(noLogprobs(), event.tokens);
        yield chunk({ index, text, logprobs, finish_reason: null });
      }
    } else if (event.type === "ended") {
      const { choice: index, rest: text, finishReason } = event;
      yield chunk({ index, text, logprobs: null, finish_reason: finishReason });
    } else if (event.type === "done") {
      if (includeUsage) yield { ...head, choices: [], ...costOf(event.usage) };
    } else throw new GriffinError(event.code, event.message);
  }
}

const noLogprobs = (): Logprobs => ({ tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] });

function addLogprobs(to: Logprobs, tokens: readonly PlacedToken[]): Logprobs {
  for (const placed of tokens) {
    to.tokens.push(placed.name);
    to.token_logprobs.push(placed.logProbability);
    to.top_logprobs.push(placed.logProbability === null ? null : likeliest(placed, placed.logProbability));
    to.text_offset.push(placed.offset);
  }
  return to;
}

/**
 * The likeliest tokens by name, and the one that stands there: the same numbers, bit for bit, for evaluations compare
 * them. Of tokens with one name the likeliest has it; others are called by their ids, or one would take another's place.
 */
function likeliest({ token, name, top }: PlacedToken, logProbability: number): Record<string, number> {
  const entries = new Map<string, number>();
  const all = top.some((each) => each.token === token) ? top : [...top, { token, name, logProbability }];
  for (const each of all) {
    entries.set(entries.has(each.name) ? `token_id:${each.token}` : each.name, each.logProbability);
  }
  return Object.fromEntries(entries);
}

/** `usage`, and our own fields: a completion begins with nothing and keeps nothing. */
function costOf({ promptTokens, completionTokens, computedTokens, placement }: CompletionUsage) {
  return {
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
      prompt_tokens_details: { cached_tokens: 0 },
    },
    state: "cold" as const,
    griffin: {
      state_bytes: 0,
      restored_tokens: 0,
      computed_tokens: computedTokens,
      rows_written: 0,
      bytes_written: 0,
      placement,
    },
  };
}

function fail(what: string): never {
  throw new GriffinError("internal", `A completion has ${what}.`);
}
