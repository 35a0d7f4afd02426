// Bodies that are written while their turn runs. A client that went away is noticed where writing to it fails, and
// connections on which nothing moves are cut, so something is written now and then: what a client skips.
import type { Context } from "hono";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";

/** Idle streams are cut after some minutes, by some proxies after one. */
const fillerEveryMs = 15_000;
/** So long an answer of JSON waits before it begins: until then a failure has a status of its own. */
const patienceMs = 3_000;

export interface Filler {
  text: string;
  everyMs: number;
}

/** What clients of server-sent events skip: a comment. */
export const sseFiller: Filler = { text: ": still here\n\n", everyMs: fillerEveryMs };
/** What a parser of JSON skips. Often, for the turn of a client that went away runs on until one cannot be written. */
const jsonFiller: Filler = { text: " ", everyMs: 1_000 };

/**
 * The bytes of pieces of text, taken one by one as they are read, with the filler whenever none came for a while. When
 * the reader goes away `abandon` is called, which must make `pieces` come to its end.
 */
export function liveBody(pieces: AsyncIterator<string>, abandon: () => void, filler: Filler): ReadableStream {
  const utf8 = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        next ??= pieces.next();
        const result = await orAfter(next, filler.everyMs);
        if (result === null) return controller.enqueue(utf8.encode(filler.text));
        next = undefined;
        if (result.done) return controller.close();
        controller.enqueue(utf8.encode(result.value));
      },
      cancel: abandon,
    },
    { highWaterMark: 0 },
  );
}

/**
 * An answer of JSON that may take long. After some seconds it begins with spaces; a failure from then on breaks the
 * connection off, because the status is out. A request of this server's own waits for the status: nothing cuts it.
 */
export async function patientJson(
  context: Context<AppEnv>,
  answer: Promise<object>,
  abandon: () => void,
  beginsAfterMs = patienceMs,
): Promise<Response> {
  const soon = await (callerOf(context.env) === null ? orAfter(answer, beginsAfterMs) : answer);
  if (soon !== null) return context.json(soon);
  async function* pieces() {
    try {
      yield jsonFiller.text;
      yield JSON.stringify(await answer);
    } catch (error) {
      context.var.log.breakOff(error);
      throw error;
    }
  }
  return context.body(liveBody(pieces(), abandon, jsonFiller), 200, { "content-type": "application/json" });
}

/** What the promise gives, or null when that takes longer. */
async function orAfter<T>(promise: Promise<T>, delayMs: number): Promise<T | null> {
  const { promise: timeout, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), delayMs);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
