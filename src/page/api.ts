// The routes this page uses, with the parts of their answers it reads. Paths are relative to the page.
// A refusal is a GriffinError with the server's own code. A server that cannot be reached, or goes silent, is the
// platform's NetworkError: `isLost` knows it, and asking again is the remedy.
import { errorCodes, GriffinError } from "../errors.ts";
import { askForKey, keyHeaders } from "./key.ts";
import { readEvents } from "./event-stream.ts";

const model = "pocket";

/** The server sends a comment every 15 s; three missed ones are a dead connection. */
const silenceMs = 45_000;

interface Part {
  text?: string;
}

/** What a turn cost, on a response and on the item that is its reply. */
export interface Report {
  state?: "restored" | "recomputed" | "shared" | "cold" | null;
  usage?: { input_tokens: number; output_tokens: number } | null;
  griffin?: { state_bytes: number; restored_tokens: number; computed_tokens: number; placement?: string | null } | null;
}

export interface Item extends Report {
  type: string;
  id: string;
  status?: string;
  response_status?: ResponseStatus;
  content?: Part[];
  /** The response it belongs to, as a message to it or as the reply. */
  response_id: string;
}

export type ResponseStatus = "in_progress" | "completed" | "incomplete" | "cancelled" | "failed";

export interface ResponseObject extends Report {
  id: string;
  status: ResponseStatus;
  output?: Item[];
  error?: { message?: string } | null;
}

export interface ResponseEvent {
  type: string;
  sequence_number: number;
  response?: ResponseObject;
  delta?: string;
  message?: string;
}

/** A message on its way: all that is needed to send it again without saying it twice. */
export interface Request {
  conversation: string;
  text: string;
  temperature: number;
  /** The server finds the first request's response under it. */
  key: string;
}

/** A new conversation; the same one under the same key. */
export const createConversation = async (key: string, signal: AbortSignal): Promise<string> =>
  idOf(await call("POST", "v1/conversations", signal, {}, { "idempotency-key": key }));

/** A branch that goes on after a response; from the beginning after null. */
export const forkConversation = async (id: string, response: string | null, signal: AbortSignal): Promise<string> =>
  idOf(await call("POST", `v1/conversations/${id}/fork`, signal, { response_id: response }));

/** Deletes a branch. One that is gone already is as good as deleted. */
export async function deleteConversation(id: string): Promise<void> {
  try {
    await call("DELETE", `v1/conversations/${id}`, undefined);
  } catch (error) {
    if (!(error instanceof GriffinError && error.code === "not_found")) throw error;
  }
}

/** Every item of a conversation, oldest first. */
export async function listItems(id: string, signal: AbortSignal): Promise<Item[]> {
  const items: Item[] = [];
  for (;;) {
    const after = items.length > 0 ? `&after=${items.at(-1)?.id}` : "";
    const answer = await call("GET", `v1/conversations/${id}/items?order=asc&limit=100${after}`, signal);
    const page: { data: Item[]; has_more?: boolean } = await answer.json();
    items.push(...page.data);
    if (!page.has_more || page.data.length === 0) return items;
  }
}

/** Stops a reply, and returns it as it is kept. */
export async function cancelResponse(id: string, signal: AbortSignal): Promise<ResponseObject> {
  return (await call("POST", `v1/responses/${id}/cancel`, signal)).json();
}

/** Asks for a reply, to be read as it comes. */
export async function startResponse(request: Request, signal: AbortSignal): Promise<AsyncGenerator<ResponseEvent>> {
  const { conversation, text, temperature, key } = request;
  const body = { model, conversation, input: text, temperature, stream: true };
  return eventsOf(await call("POST", "v1/responses", signal, body, { "idempotency-key": key }), signal);
}

/** A reply from behind an event on; from the first one after null. */
export async function resumeResponse(
  id: string,
  after: number | null,
  signal: AbortSignal,
): Promise<AsyncGenerator<ResponseEvent>> {
  const from = after === null ? "" : `&starting_after=${after}`;
  return eventsOf(await call("GET", `v1/responses/${id}?stream=true${from}`, signal), signal);
}

/** Whether an error is a connection that broke or never came to be. */
export const isLost = (error: unknown): boolean => error instanceof DOMException && error.name === "NetworkError";

/** What a broken connection is thrown as. */
export const lost = (cause: unknown): DOMException => new DOMException(String(cause), "NetworkError");

async function idOf(answer: Response): Promise<string> {
  const { id }: { id: string } = await answer.json();
  return id;
}

async function call(
  method: string,
  path: string,
  signal: AbortSignal | undefined,
  body?: object,
  headers: Record<string, string> = {},
): Promise<Response> {
  let response: Response;
  try {
    const content = body === undefined ? {} : { body: JSON.stringify(body) };
    const all = new Headers({ ...headers, ...keyHeaders() });
    if (body !== undefined) all.set("content-type", "application/json");
    response = await fetch(path, { method, signal: signal ?? null, headers: all, ...content });
  } catch (error) {
    throw signal?.aborted ? error : lost(error);
  }
  if (response.ok) return response;
  if (response.status === 401 && (await askForKey())) return call(method, path, signal, body, headers);
  const answer: { error?: { code?: string | null; message?: string } } = await response.json().catch(() => ({}));
  const code = errorCodes.find((known) => known === answer.error?.code);
  if (code === undefined && response.status >= 502) throw lost(`status ${response.status}`);
  const known = code ?? (response.status === 404 ? "not_found" : "internal");
  throw new GriffinError(known, answer.error?.message ?? `The server answered with status ${response.status}.`);
}

async function* eventsOf(response: Response, signal: AbortSignal): AsyncGenerator<ResponseEvent> {
  if (response.body === null) throw lost("an empty answer");
  for await (const data of readEvents(chunksOf(response.body, signal))) {
    const event: ResponseEvent = JSON.parse(data);
    yield event;
  }
}

/** The chunks of a stream; a silent one is lost. */
async function* chunksOf(stream: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  const silence = () => void reader.cancel().catch(() => {});
  let timer = setTimeout(silence, silenceMs);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(silence, silenceMs);
      yield value;
    }
  } catch (error) {
    throw signal.aborted ? error : lost(error);
  } finally {
    clearTimeout(timer);
    silence();
  }
}
