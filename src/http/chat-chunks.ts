// A chat completion in OpenAI's forms: whole, and as the chunks of a stream.
import type { TurnEvent, TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";
import { formatCallId, formatId } from "./ids.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
import { callOf, createReplyReader, type ReplyPiece } from "./tool-calls.ts";
import { refusalOf, turnError } from "./turn-events.ts";
import { chatUsage, reportOf } from "./usage.ts";

const seconds = (ms: number) => Math.floor(ms / 1000);

/** What every chunk and the whole have in common. */
function head(object: string, { turn, createdMs, options }: TurnView) {
  return {
    id: formatId("chat completion", { object, number: turn }),
    created: seconds(createdMs),
    model: options.model,
  };
}

/** Why a reply ended, if it did; else the turn's failure. */
function finishReasonOf(view: TurnView): "stop" | "length" | "tool_calls" | "content_filter" {
  if (refusalOf(view) !== null) return "content_filter";
  if (view.status === "failed") throw turnError(view);
  if (callOf(view)?.isWhole) return "tool_calls";
  if (view.finishReason === "stop" || view.finishReason === "length") return view.finishReason;
  throw new GriffinError("cancelled", "The turn was cancelled before its reply ended.");
}

const logprobsOf = (content: WireLogProbability[] | null) => (content === null ? null : { content, refusal: null });

/** A call as chat completions show it. */
const wireCall = (object: string, { turn }: TurnView, name: string, argumentsText: string) => ({
  id: formatCallId({ object, number: turn }),
  type: "function" as const,
  function: { name, arguments: argumentsText },
});

/** The reply as a message: a text, a call, or a refusal. */
function replyMessage(object: string, view: TurnView) {
  const role = "assistant" as const;
  const refusal = refusalOf(view);
  if (refusal !== null) return { role, content: null, refusal };
  const call = callOf(view);
  if (call === null) return { role, content: view.text, refusal: null };
  return { role, content: null, refusal: null, tool_calls: [wireCall(object, view, call.name, call.arguments)] };
}

/** A finished turn as a chat completion; `logprobs` null for none. Throws the error of a turn that has no reply. */
export function chatCompletion(object: string, view: TurnView, logprobs: WireLogProbability[] | null) {
  const finishReason = finishReasonOf(view);
  return {
    ...head(object, view),
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: replyMessage(object, view),
        logprobs: logprobsOf(callOf(view) === null ? logprobs : null),
        finish_reason: finishReason,
      },
    ],
    usage: chatUsage(view),
    ...reportOf(view),
  };
}

/** The chunks of a turn. With `includeUsage` one more comes last, without choices; all others then say `usage: null`. */
export async function* chatChunks(
  events: AsyncIterable<TurnEvent> | Iterable<TurnEvent>,
  object: string,
  includeUsage: boolean,
) {
  const common = (view: TurnView) => ({ ...head(object, view), object: "chat.completion.chunk" });
  const noUsage = includeUsage ? { usage: null } : {};
  let started: TurnView | undefined;
  let reader = createReplyReader(false);
  /** Of tokens whose text is still held back; null where nobody asked. */
  let pending: WireLogProbability[] | null = null;
  const chunk = (delta: object, logprobs: WireLogProbability[] | null = null, finishReason: string | null = null) => ({
    ...(started && common(started)),
    choices: [{ index: 0, delta, logprobs: logprobsOf(logprobs), finish_reason: finishReason }],
    ...noUsage,
  });
  const chunksOf = (view: TurnView, pieces: readonly ReplyPiece[]) =>
    pieces.flatMap((piece) => {
      if (piece.type === "call") {
        return [chunk({ tool_calls: [{ index: 0, ...wireCall(object, view, piece.name, "") }] })];
      }
      if (piece.type === "arguments") {
        return [chunk({ tool_calls: [{ index: 0, function: { arguments: piece.text } }] })];
      }
      return piece.text === "" && pending === null ? [] : [chunk({ content: piece.text }, pending?.splice(0) ?? null)];
    });
  for await (const event of events) {
    if (event.type === "started") {
      started = event.view;
      reader = createReplyReader(started.mayCall);
      pending = started.options.topLogProbabilities === null ? null : [];
      yield chunk({ role: "assistant", content: started.mayCall ? null : "", refusal: null });
    } else if (event.type === "token") {
      if (started === undefined) continue;
      pending?.push(...logProbabilitiesOf(event));
      yield* chunksOf(started, reader.push(event.text));
    } else {
      const finishReason = finishReasonOf(event.view);
      const last = event.rest === "" ? [] : reader.push(event.rest);
      if (last.length > 0 && pending?.length === 0) pending = null;
      yield* chunksOf(event.view, [...last, ...reader.end()]);
      const refusal = refusalOf(event.view);
      if (refusal !== null) yield chunk({ refusal });
      const report = reportOf(event.view);
      yield { ...chunk({}, null, finishReason), ...report };
      if (includeUsage) yield { ...common(event.view), choices: [], usage: chatUsage(event.view), ...report };
    }
  }
}
