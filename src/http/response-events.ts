// The events of a response, in OpenAI's order. They are a function of the turn's own events and nothing else: whoever
// reads them again gets the same ones under the same numbers.
import type { TurnEvent, TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";
import { wireError } from "./errors.ts";
import { formatMessageId } from "./ids.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
import { callItem, outputItem, outputText, responseObject } from "./response-object.ts";
import { createReplyReader, type ReplyPiece } from "./tool-calls.ts";

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

/** A message, opened with its first piece. */
function openMessage(object: string, turn: TurnView): OpenItem & { open(): PlainEvent[] } {
  const id = formatMessageId({ object, number: turn.turn }, 0);
  const place = { item_id: id, output_index: 0, content_index: 0 };
  const logprobs: WireLogProbability[] = [];
  let text = "";
  return {
    open: () => [
      { type: "response.output_item.added", output_index: 0, item: outputItem(object, turn, []) },
      { type: "response.content_part.added", ...place, part: outputText("") },
    ],
    push(piece, of) {
      if (piece.type !== "text") return [];
      text += piece.text;
      logprobs.push(...of);
      return [{ type: "response.output_text.delta", ...place, delta: piece.text, logprobs: of }];
    },
    end(view) {
      const part = outputText(text, logprobs);
      return [
        { type: "response.output_text.done", ...place, text, logprobs },
        { type: "response.content_part.done", ...place, part },
        { type: "response.output_item.done", output_index: 0, item: outputItem(object, view, [part]) },
      ];
    },
  };
}

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
  let wantsLogprobs = false;
  const logprobs: WireLogProbability[] = [];
  /** Of tokens whose text is still held back. */
  let pending: WireLogProbability[] = [];
  const opened = (begun: TurnView, call?: string): PlainEvent[] => {
    const open = call === undefined ? openMessage(object, begun) : openCall(object, begun, call);
    item = open;
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
      yield* eventsOf(turn, reader.push(event.text));
    } else {
      const { view, rest } = event;
      if (view.status !== "failed") {
        const begun = turn ?? atStart(view);
        const last = rest === "" ? [] : reader.push(rest);
        yield* eventsOf(begun, [...last, ...reader.end()]);
        if (item === undefined) yield* opened(begun);
        yield* item?.end(view) ?? [];
      }
      yield { type: lastType(view), response: responseObject(object, view, logprobs) };
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

/** A cancelled response ends as an incomplete one: clients wait for no other end. Its status tells. */
function lastType({ status }: TurnView): string {
  return status === "completed" || status === "failed" ? `response.${status}` : "response.incomplete";
}
