// GET /v1/conversations/{id}/events: the events of the response that runs in a conversation, or of its last one. They
// have ids, so a reader that lost its connection, or whose server died, says what it had last and gets what comes after:
// browsers do so by themselves. The stream ends with the response; asked again behind its end there is nothing, which
// tells them to stop.
import { Hono, type Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "./context.ts";
import { named, unknownConversation } from "./conversations.ts";
import { requestError } from "./errors.ts";
import { liveBody, sseFiller } from "./live-body.ts";
import { checkShape, wholeNumber } from "./read-body.ts";
import { isLastType, responseEvents, type ResponseEvent } from "./response-events.ts";
import { encodeMessage, sseHeaders } from "./sse.ts";
import { found } from "./stubs.ts";
import { readTurn } from "./turn-events.ts";

const header = "last-event-id";

export const eventsQuery = z.object({
  starting_after: wholeNumber(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe("The number of the last event that is known, of the response that runs or was the last one"),
});

/** An event of a turn. */
interface EventId {
  turn: number;
  number: number;
}

const formatEventId = ({ turn, number }: EventId): string => `${turn}.${number}`;

export const conversationEvents = new Hono<AppEnv>().get("/v1/conversations/:id/events", async (context) => {
  const { starting_after: number } = checkShape(eventsQuery, context.req.query());
  const known = parseEventId(context.req.header(header));
  const { branch, stub } = named(context);
  const latest = await found(stub.latestReply(branch), unknownConversation);
  if (known !== null) {
    await found(stub.turnOn(branch, known.turn), unknownEvent);
    const rest = await streamed(context, known);
    if (rest !== null) return rest;
    // All of that one is known: on with the next, if there is one.
    if (known.turn === latest) return context.body(null, 204);
  }
  const after = known === null && number !== undefined ? number : -1;
  const stream = latest === null ? null : await streamed(context, { turn: latest, number: after });
  return stream ?? context.body(null, 204);
});

/** The events of a turn behind a known one; null where it is over and there are none. */
async function streamed(context: Context<AppEnv, "/v1/conversations/:id">, known: EventId): Promise<Response | null> {
  const { object, stub } = named(context);
  const { turn } = known;
  const [view, stream] = await Promise.all([stub.view(turn), stub.events(turn)]);
  const reader = readTurn(stream, context.req.raw.signal);
  const events = newEvents(responseEvents(reader.events, object, context.var.log.breakOff), known.number);
  // Of a turn that is over all is there: nobody is kept waiting for the first one.
  const first = view.status === "in_progress" ? undefined : await events.next();
  if (first?.done) return null;
  const read = first === undefined ? [] : [first.value];
  async function* messages() {
    for (const event of read) yield encode(event);
    for await (const event of events) yield encode(event);
  }
  const encode = (event: ResponseEvent) =>
    encodeMessage(event, event.type, formatEventId({ turn, number: event.sequence_number }));
  return context.body(liveBody(messages(), reader.abandon, sseFiller), 200, sseHeaders);
}

/** Those behind a number. A turn that is read again may have fewer: its end, which has the whole text, always comes. */
async function* newEvents(events: AsyncIterable<ResponseEvent>, known: number) {
  for await (const event of events) {
    const { type, sequence_number: number } = event;
    if (number > known || (isLastType(type) && number !== known)) yield event;
  }
}

function parseEventId(text: string | undefined): EventId | null {
  if (text === undefined || text === "") return null;
  const [, turn, number] = /^([1-9]\d{0,8})\.(\d{1,9})$/.exec(text) ?? [];
  if (turn === undefined) throw unknownEvent();
  return { turn: Number(turn), number: Number(number) };
}

const unknownEvent = () =>
  requestError("invalid_argument", `${header}: expected the id of an event of this conversation.`, header);
