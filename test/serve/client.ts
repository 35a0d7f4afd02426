// What the tests of a real server send, and what of the answers they look at.
import { setTimeout as sleep } from "node:timers/promises";
import type { TestServer } from "../server.ts";

/** An answer of either API, in one shape. */
export interface Reply {
  id: string;
  status: string;
  text: string;
  state: "restored" | "recomputed" | "cold";
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  griffin: {
    state_bytes: number;
    restored_tokens: number;
    computed_tokens: number;
    rows_written: number;
    bytes_written: number;
  };
}

interface ResponseBody {
  id: string;
  status: string;
  output: { content: { text: string }[] }[];
  state: Reply["state"];
  usage: { input_tokens: number; output_tokens: number; input_tokens_details: { cached_tokens: number } } | null;
  griffin: Reply["griffin"] | null;
}

interface ChatBody {
  id: string;
  choices: { finish_reason: string; message: { content: string }; logprobs: { content: unknown[] } | null }[];
  state: Reply["state"];
  usage: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  griffin: Reply["griffin"];
}

export interface Message {
  role: "user" | "assistant";
  content: string;
}

/** Sends a body as JSON, or asks with GET where there is none. */
export async function ask(server: TestServer, path: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const headers = { "content-type": "application/json" };
  const init = body === undefined ? { signal } : { method: "POST", headers, body: JSON.stringify(body), signal };
  return fetch(`${server.url}${path}`, init);
}

async function answer<T>(response: Response): Promise<T> {
  const text = await response.text();
  if (!response.ok) throw new Error(`status ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}

/** `POST /v1/responses` with pocket, greedy unless told. */
export async function respond(server: TestServer, body: object): Promise<Reply> {
  return fromResponse(await answer(await ask(server, "/v1/responses", { model: "pocket", temperature: 0, ...body })));
}

export async function retrieve(server: TestServer, id: string): Promise<Reply> {
  return fromResponse(await answer(await ask(server, `/v1/responses/${id}`)));
}

/** A response once its status is final. */
export async function settled(server: TestServer, id: string, withinMs = 20_000): Promise<Reply> {
  const untilMs = Date.now() + withinMs;
  for (;;) {
    const reply = await retrieve(server, id);
    if (!["queued", "in_progress"].includes(reply.status)) return reply;
    if (Date.now() > untilMs) throw new Error(`${id} is still ${reply.status}. The server said:\n${server.log()}`);
    await sleep(20);
  }
}

/** `POST /v1/chat/completions` with pocket, greedy unless told. */
export async function complete(
  server: TestServer,
  messages: Message[],
  body: object = {},
): Promise<Reply & { logProbabilities: unknown[] }> {
  const request = { model: "pocket", temperature: 0, messages, ...body };
  const { id, choices, state, usage, griffin } = await answer<ChatBody>(
    await ask(server, "/v1/chat/completions", request),
  );
  const [choice] = choices;
  return {
    id,
    status: choice!.finish_reason,
    text: choice!.message.content,
    state,
    promptTokens: usage.prompt_tokens,
    cachedTokens: usage.prompt_tokens_details.cached_tokens,
    completionTokens: usage.completion_tokens,
    griffin,
    logProbabilities: choice!.logprobs?.content ?? [],
  };
}

function fromResponse({ id, status, output, state, usage, griffin }: ResponseBody): Reply {
  return {
    id,
    status,
    text: output.flatMap((item) => item.content.map((part) => part.text)).join(""),
    state,
    promptTokens: usage?.input_tokens ?? 0,
    cachedTokens: usage?.input_tokens_details.cached_tokens ?? 0,
    completionTokens: usage?.output_tokens ?? 0,
    griffin: griffin ?? { state_bytes: 0, restored_tokens: 0, computed_tokens: 0, rows_written: 0, bytes_written: 0 },
  };
}
