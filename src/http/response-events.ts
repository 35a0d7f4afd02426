// The events of a response, in OpenAI's order. They are a function of the turn's own events and nothing else: whoever
// reads them again gets the same ones under the same numbers.
import type { TurnEvent, TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";
import { wireError } from "./errors.ts";
import { formatMessageId } from "./ids.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
import { callItem, outputItem, outputText, refusalPart, responseObject, type OutputPart } from "./response-object.ts";
import { createReplyReader, type ReplyPiece } from "./tool-calls.ts";
import { refusalOf } from "./turn-events.ts";

export interface ResponseEvent {
  type: string;
  sequence_number: number;
  [field: string]: unknown;
}

/** The output item of a turn while it comes: what it is shows with its first pieces. */
interface OpenItem {
  /** The events that a piece of the reply makes; `logprobs` of a text's tokens. */
  push(piece: ReplyPiece, logprobs: WireLogProbability[]): PlainEvent[];
  /** The events that end it, in the turn as it ended. */
  end(view: TurnView): PlainEvent[];
}

interface PlainEvent {
  type: string;
  [field: string]: unknown;
}

/** A message. Its part of text opens with the first piece, or where it ends without one. */
function openMessage(object: string, turn: TurnView, outputIndex = 0): OpenItem & { open(): PlainEvent[] } {
  const place = { item_id: formatMessageId({ object, number: turn.turn }, 0), output_index: outputIndex };
  const textPlace = { ...place, content_index: 0 };
  const logprobs: WireLogProbability[] = [];
  let text: string | null = null;
  const openText = (): PlainEvent[] => {
    if (text !== null) return [];
    text = "";
    return [{ type: "response.content_part.added", ...textPlace, part: outputText("") }];
  };
  return {
    open: () => [{ type: "response.output_item.added", output_index: outputIndex, item: outputItem(object, turn, []) }],
    push(piece, of) {
      if (piece.type !== "text") return [];
      const first = openText();
      text += piece.text;
      logprobs.push(...of);
      return [...first, { type: "response.output_text.delta", ...textPlace, delta: piece.text, logprobs: of }];
    },
    end(view) {
      const refusal = refusalOf(view);
      const content: OutputPart[] = [];
      const events: PlainEvent[] = [];
      if (refusal === null || text !== null) {
        events.push(...openText());
        const part = outputText(text ?? "", logprobs);
        content.push(part);
        events.push({ type: "response.output_text.done", ...textPlace, text: part.text, logprobs });
        events.push({ type: "response.content_part.done", ...textPlace, part });
      }
      if (refusal !== null) {
        events.push(...refusalEvents({ ...place, content_index: content.length }, refusal));
        content.push(refusalPart(refusal));
      }
      const item = outputItem(object, view, content);
      return [...events, { type: "response.output_item.done", output_index: outputIndex, item }];
    },
  };
}

/** A part that is a refusal, at its place. */
const refusalEvents = (place: object, refusal: string): PlainEvent[] => [
  { type: "response.content_part.added", ...place, part: refusalPart("") },
  { type: "response.refusal.delta", ...place, delta: refusal },
  { type: "response.refusal.done", ...place, refusal },
  { type: "response.content_part.done", ...place, part: refusalPart(refusal) },
];

/** A call, opened with its name. */
function openCall(object: string, turn: TurnView, name: string): OpenItem & { open(): PlainEvent[] } {
  const call = { name, arguments: "" };
  const { id } = callItem(object, turn, call);
  const place = { item_id: id, output_index: 0 };
  return {
    open: () => [{ type: "response.output_item.added", output_index: 0, item: callItem(object, turn, call) }],
    push(piece) {
      if (piece.type !== "arguments") return [];
      call.arguments += piece.text;
      return [{ type: "response.function_call_arguments.delta", ...place, delta: piece.text }];
    },
    end: (view) => [
      { type: "response.function_call_arguments.done", ...place, ...call },
      { type: "response.output_item.done", output_index: 0, item: callItem(object, view, call) },
    ],
  };
}

/** Unnumbered events of a turn. */
async function* plainEvents(
  events: AsyncIterable<TurnEvent> | Iterable<TurnEvent>,
  object: string,
): AsyncGenerator<PlainEvent, void, undefined> {
  let turn: TurnView | undefined;
  let reader = createReplyReader(false);
  let item: OpenItem | undefined;
  let isCall = false;
  let text = "";
  let wantsLogprobs = false;
  const logprobs: WireLogProbability[] = [];
  /** Of tokens whose text is still held back. */
  let pending: WireLogProbability[] = [];
  const opened = (begun: TurnView, call?: string): PlainEvent[] => {
    const open = call === undefined ? openMessage(object, begun) : openCall(object, begun, call);
    item = open;
    isCall = call !== undefined;
    return open.open();
  };
  const eventsOf = (begun: TurnView, pieces: readonly ReplyPiece[]): PlainEvent[] =>
    pieces.flatMap((piece) => {
      if (piece.type === "call") return opened(begun, piece.name);
      if (piece.text === "" && !wantsLogprobs) return [];
      const first = item === undefined ? opened(begun) : [];
      const of = pending;
      pending = [];
      return [...first, ...(item?.push(piece, of) ?? [])];
    });
  for await (const event of events) {
    if (event.type === "started") {
      turn = atStart(event.view);
      reader = createReplyReader(turn.mayCall);
      wantsLogprobs = turn.options.topLogProbabilities !== null;
      const response = responseObject(object, turn);
      yield { type: "response.created", response };
      yield { type: "response.in_progress", response };
      if (!turn.mayCall) yield* opened(turn);
    } else if (event.type === "token") {
      if (turn === undefined) continue;
      const of = wantsLogprobs ? logProbabilitiesOf(event) : [];
      logprobs.push(...of);
      pending.push(...of);
      text += event.text;
      yield* eventsOf(turn, reader.push(event.text));
    } else {
      const { view, rest } = event;
      const isRefused = refusalOf(view) !== null;
      if (view.status !== "failed" || isRefused) {
        const begun = turn ?? atStart(view);
        const last = rest === "" ? [] : reader.push(rest);
        yield* eventsOf(begun, [...last, ...reader.end()]);
        if (item === undefined) yield* opened(begun);
        yield* item?.end(view) ?? [];
        if (isRefused && isCall) {
          const message = openMessage(object, begun, 1);
          yield* message.open();
          yield* message.end(view);
        }
      }
      // What was said before a refusal is not kept, but this reader has it.
      const said = isRefused ? { ...view, text } : view;
      yield { type: lastType(view), response: responseObject(object, said, logprobs) };
      return;
    }
  }
  throw new GriffinError("internal", "The stream of a turn broke off.");
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
