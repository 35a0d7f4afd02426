// The events of a response, in OpenAI's order. They are a function of the turn's own events and nothing else: whoever
// reads them again gets the same ones under the same numbers.
import type { TurnEvent, TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";
import { wireError } from "./errors.ts";
import { formatMessageId } from "./ids.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
import { outputItem, outputText, refusalPart, responseObject, type OutputPart } from "./response-object.ts";
import { refusalOf } from "./turn-events.ts";

export interface ResponseEvent {
  type: string;
  sequence_number: number;
  [field: string]: unknown;
}

/** Unnumbered events of a turn. */
async function* plainEvents(events: AsyncIterable<TurnEvent> | Iterable<TurnEvent>, object: string) {
  let text = "";
  let place = {};
  let isOpen = false;
  let wantsLogprobs = false;
  const logprobs: WireLogProbability[] = [];
  /** Opens the part of the text before the first of it, or where it is to be closed. */
  const opened = () => {
    const added = { type: "response.content_part.added", ...place, part: outputText("") };
    return isOpen ? [] : ((isOpen = true), [added]);
  };
  const delta = (released: string, of: WireLogProbability[]) => {
    text += released;
    logprobs.push(...of);
    return [...opened(), { type: "response.output_text.delta", ...place, delta: released, logprobs: of }];
  };
  for await (const event of events) {
    if (event.type === "started") {
      const view = atStart(event.view);
      const response = responseObject(object, view);
      wantsLogprobs = view.options.topLogProbabilities !== null;
      place = { item_id: formatMessageId({ object, number: view.turn }, 0), output_index: 0, content_index: 0 };
      yield { type: "response.created", response };
      yield { type: "response.in_progress", response };
      yield { type: "response.output_item.added", output_index: 0, item: outputItem(object, view, []) };
    } else if (event.type === "token") {
      if (event.text === "" && !wantsLogprobs) continue;
      yield* delta(event.text, wantsLogprobs ? logProbabilitiesOf(event) : []);
    } else {
      const { view, rest } = event;
      const refusal = refusalOf(view);
      const content: OutputPart[] = [];
      if (view.status !== "failed" || (refusal !== null && isOpen)) {
        if (rest !== "") yield* delta(rest, []);
        yield* opened();
        const part = outputText(text, logprobs);
        content.push(part);
        yield { type: "response.output_text.done", ...place, text, logprobs };
        yield { type: "response.content_part.done", ...place, part };
      }
      if (refusal !== null) {
        yield* refusalEvents({ ...place, content_index: content.length }, refusal);
        content.push(refusalPart(refusal));
      }
      if (content.length > 0) {
        yield { type: "response.output_item.done", output_index: 0, item: outputItem(object, view, content) };
      }
      // What was said before a refusal is not kept, but this reader has it.
      const said = refusal === null ? view : { ...view, text };
      yield { type: lastType(view), response: responseObject(object, said, logprobs) };
      return;
    }
  }
  throw new GriffinError("internal", "The stream of a turn broke off.");
}

/** A part that is a refusal, at its place. */
function* refusalEvents(place: object, refusal: string) {
  yield { type: "response.content_part.added", ...place, part: refusalPart("") };
  yield { type: "response.refusal.delta", ...place, delta: refusal };
  yield { type: "response.refusal.done", ...place, refusal };
  yield { type: "response.content_part.done", ...place, part: refusalPart(refusal) };
}

/** The numbered events of a response. A failure to read them becomes a last one of type `error`, given to `onError`. */
export async function* responseEvents(
  events: AsyncIterable<TurnEvent> | Iterable<TurnEvent>,
  object: string,
  onError: (error: unknown) => void = () => undefined,
): AsyncGenerator<ResponseEvent, void, undefined> {
  let number = 0;
  try {
    for await (const { type, ...fields } of plainEvents(events, object)) {
      yield { type, sequence_number: number++, ...fields };
    }
  } catch (error) {
    onError(error);
    const { code, message, param } = wireError(error);
    yield { type: "error", sequence_number: number, code, message, param };
  }
}

/** What was known of a turn before its first token, however late its `started` is read. */
const atStart = (view: TurnView): TurnView => ({
  ...view,
  status: "in_progress",
  text: "",
  finishedMs: null,
  finishReason: null,
  state: null,
  usage: null,
  storage: null,
  error: null,
});

/** Whether nothing comes after an event of this type. */
export const isLastType = (type: string): boolean =>
  ["response.completed", "response.incomplete", "response.failed", "error"].includes(type);

/** A cancelled response ends as an incomplete one, as a refused one does: clients wait for no other end. */
function lastType(view: TurnView): string {
  const { status } = view;
  const isIncomplete = (status !== "completed" && status !== "failed") || refusalOf(view) !== null;
  return isIncomplete ? "response.incomplete" : `response.${status}`;
}
