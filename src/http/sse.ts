// Server-sent events. Every message is one line of JSON, which has no line break whatever text is in it.
// https://html.spec.whatwg.org/multipage/server-sent-events.html

export const sseHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  // Proxies of nginx's kind collect answers unless told.
  "x-accel-buffering": "no",
} as const;

/** What OpenAI's streams end with. */
export const doneMessage = "data: [DONE]\n\n";

const heartbeat = ": still here\n\n";
/** Idle streams are cut after some minutes, by some proxies after one. */
const heartbeatMs = 15_000;

/** One message. */
export function encodeMessage(data: unknown, event?: string): string {
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}

/**
 * The bytes of encoded messages, taken one by one as they are read, with a comment whenever none came for a while. When
 * the reader goes away `abandon` is called, which must make `messages` come to its end.
 */
export function sseStream(
  messages: AsyncIterator<string>,
  abandon: () => void,
  idleMs = heartbeatMs,
): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        next ??= messages.next();
        const result = await orAfter(next, idleMs);
        if (result === null) return controller.enqueue(utf8.encode(heartbeat));
        next = undefined;
        if (result.done) return controller.close();
        controller.enqueue(utf8.encode(result.value));
      },
      cancel: abandon,
    },
    { highWaterMark: 0 },
  );
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
