// Events as the lines of a stream: NDJSON, made as it is read, so that a slow reader costs nothing.

/** Events written in one piece, so that a stream that is far behind catches up quickly. */
export const mostEventsAPiece = 256;

/** Where lines come from. */
export interface EventSource<Event> {
  /** The next events, at most `mostEventsAPiece`; none when there are no more. */
  next(): Event[] | Promise<Event[]>;
  /** The reader went away before the end. */
  abandon?(): void;
}

/** The stream of all events of a source. */
export function eventLines<Event>(source: EventSource<Event>): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const events = await source.next();
      if (events.length > 0) {
        controller.enqueue(utf8.encode(events.map((event) => `${JSON.stringify(event)}\n`).join("")));
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel: () => source.abandon?.(),
  });
}
