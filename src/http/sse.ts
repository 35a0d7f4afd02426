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

/** One message. A reader that comes back says the `id` it saw last. */
export function encodeMessage(data: unknown, event?: string, id?: string): string {
  const name = event === undefined ? "" : `event: ${event}\n`;
  return `${id === undefined ? "" : `id: ${id}\n`}${name}data: ${JSON.stringify(data)}\n\n`;
}
