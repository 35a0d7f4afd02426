// A chat completion in OpenAI's forms: whole, and as the chunks of a stream.
import type { TurnEvent, TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";
import { formatId } from "./ids.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
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
function finishReasonOf(view: TurnView): "stop" | "length" | "content_filter" {
  if (refusalOf(view) !== null) return "content_filter";
  if (view.status === "failed") throw turnError(view);
  if (view.finishReason === "stop" || view.finishReason === "length") return view.finishReason;
  throw new GriffinError("cancelled", "The turn was cancelled before its reply ended.");
}

const logprobsOf = (content: WireLogProbability[] | null) => (content === null ? null : { content, refusal: null });

/** A finished turn as a chat completion; `logprobs` null for none. Throws the error of a turn that has no reply. */
export function chatCompletion(object: string, view: TurnView, logprobs: WireLogProbability[] | null) {
  const refusal = refusalOf(view);
  return {
    ...head(object, view),
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: refusal === null ? view.text : null, refusal },
        logprobs: logprobsOf(logprobs),
        finish_reason: finishReasonOf(view),
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
  const chunk = (delta: object, logprobs: WireLogProbability[] | null = null, finishReason: string | null = null) => ({
    ...(started && common(started)),
    choices: [{ index: 0, delta, logprobs: logprobsOf(logprobs), finish_reason: finishReason }],
    ...noUsage,
  });
  for await (const event of events) {
    if (event.type === "started") {
      started = event.view;
      yield chunk({ role: "assistant", content: "", refusal: null });
    } else if (event.type === "token") {
      const wantsLogprobs = started?.options.topLogProbabilities !== null;
      if (event.text === "" && !wantsLogprobs) continue;
      yield chunk({ content: event.text }, wantsLogprobs ? logProbabilitiesOf(event) : null);
    } else {
      const finishReason = finishReasonOf(event.view);
      if (event.rest !== "") yield chunk({ content: event.rest });
      const refusal = refusalOf(event.view);
      if (refusal !== null) yield chunk({ refusal });
      const report = reportOf(event.view);
      yield { ...chunk({}, null, finishReason), ...report };
      if (includeUsage) yield { ...common(event.view), choices: [], usage: chatUsage(event.view), ...report };
    }
  }
}
