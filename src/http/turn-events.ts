// The stream of a turn, or of another work, as it comes from its object: lines of JSON to events.
import type { TurnEvent, TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";

export interface EventReader<Event> {
  /** Up to the last one; fails with `internal` when the stream breaks off before it. */
  events: AsyncGenerator<Event, void, undefined>;
  /** Stops reading, whatever is being waited for. Work that ends with its client then ends. */
  abandon: () => void;
}

/** Of a turn, from `started` to `ended`. */
export type TurnReader = EventReader<TurnEvent>;

/** Reads no faster than its events are taken. Aborting `signal` abandons it. */
export const readTurn = (stream: ReadableStream<Uint8Array>, signal?: AbortSignal): TurnReader =>
  readEvents<TurnEvent>(stream, ({ type }) => type === "ended", signal);

/** The same for events of any kind. */
export function readEvents<Event>(
  stream: ReadableStream<Uint8Array>,
  isLast: (event: Event) => boolean,
  signal?: AbortSignal,
): EventReader<Event> {
  const reader = stream.getReader();
  const abandon = () => void reader.cancel().catch(() => undefined);
  if (signal?.aborted) abandon();
  signal?.addEventListener("abort", abandon, { once: true });
  return { events: eventsOf(reader, isLast), abandon };
}

async function* eventsOf<Event>(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  isLast: (event: Event) => boolean,
): EventReader<Event>["events"] {
  const utf8 = new TextDecoder();
  let rest = "";
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const lines = (rest + utf8.decode(piece.value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        // The object is ours, and writes what protocol.ts says.
        const event: Event = JSON.parse(line);
        yield event;
        if (isLast(event)) return;
      }
    }
    throw brokenOff();
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** The turn when it is over. `onToken` sees its tokens go by. */
export async function finalView(
  events: AsyncIterable<TurnEvent>,
  onToken?: (event: TurnEvent & { type: "token" }) => void,
): Promise<TurnView> {
  for await (const event of events) {
    if (event.type === "token") onToken?.(event);
    if (event.type === "ended") return event.view;
  }
  throw brokenOff();
}

/** The failure of a turn that failed. */
export const turnError = ({ error }: TurnView): GriffinError =>
  new GriffinError(error?.code ?? "internal", error?.message ?? "The turn failed.");

/** Why moderation refused a turn, or the rest of it; null where it did not. */
export const refusalOf = ({ status, error }: Pick<TurnView, "status" | "error">): string | null =>
  status === "failed" && error?.code === "refused" ? error.message : null;

const brokenOff = () => new GriffinError("internal", "The stream of a turn broke off.");
