// Every answer and event against schemas made of openai-node's types, over plain HTTP: the client itself checks nothing.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { checkShape } from "./openai-shapes.ts";
import type { Answers } from "./openai-types.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

type Json = Record<string, unknown>;
type Shape = keyof Answers;

const ask = (path: string, body?: Json, method = body === undefined ? "GET" : "POST") =>
  fetch(`${server.url}${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });

async function checked(shape: Shape, path: string, body?: Json, method?: string): Promise<Json> {
  const answer = await ask(path, body, method);
  const value = (await answer.json()) as Json;
  expect(answer.status, JSON.stringify(value)).toBe(200);
  checkShape(shape, value);
  return value;
}

/** The events of a stream, each checked. */
async function checkedStream(shape: Shape, path: string, body?: Json): Promise<Json[]> {
  const answer = await ask(path, body);
  expect(answer.status).toBe(200);
  const data = [...(await answer.text()).matchAll(/^data: (.*)$/gm)].map(([, line = ""]) => line);
  expect(data.at(-1)).toBe("[DONE]");
  const events = data.slice(0, -1).map((line) => JSON.parse(line) as Json);
  for (const event of events) checkShape(shape, event);
  return events;
}

const messages = [{ role: "user", content: "My name is Ada." }];
const greedy = { temperature: 0, model: "pocket" };

describe("answers have the types of openai-node", () => {
  it("of chat completions", async () => {
    const path = "/v1/chat/completions";
    await checked("chatCompletion", path, { ...greedy, messages });
    await checked("chatCompletion", path, { ...greedy, messages, logprobs: true, top_logprobs: 3, max_tokens: 4 });
    await checkedStream("chatCompletionChunk", path, { ...greedy, messages, stream: true });
    const withUsage = { stream: true, stream_options: { include_usage: true }, logprobs: true, top_logprobs: 2 };
    const chunks = await checkedStream("chatCompletionChunk", path, { ...greedy, messages, ...withUsage });
    expect(chunks.length).toBeGreaterThan(3);
  });

  it("of completions", async () => {
    const prompt = ["My name is", "The fox"];
    const whole = await checked("completion", "/v1/completions", { ...greedy, prompt, max_tokens: 4 });
    expect(whole["choices"]).toHaveLength(2);
    const scored = { ...greedy, prompt: [[2, 100, 200]], max_tokens: 1, echo: true, logprobs: 2 };
    const { choices } = await checked("completion", "/v1/completions", scored);
    expect((choices as Json[])[0]?.["logprobs"]).toMatchObject({
      token_logprobs: [null, expect.any(Number), expect.any(Number), expect.any(Number)],
    });
  });

  it("of responses and their events", async () => {
    const path = "/v1/responses";
    const whole = await checked("response", path, { ...greedy, input: "My name is Ada.", instructions: "Be kind." });
    await checked("response", path, { ...greedy, input: "Hello.", max_output_tokens: 1 });
    await checked("response", path, { ...greedy, input: messages, top_logprobs: 2, previous_response_id: whole["id"] });
    const background = await checked("response", path, { ...greedy, input: "Hello.", background: true });
    await checked("response", `${path}/${String(background["id"])}/cancel`, {});
    await checked("response", `${path}/${String(whole["id"])}`);
    const events = await checkedStream("responseEvent", path, { ...greedy, input: "Hello.", stream: true });
    expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, i) => i));
    await checkedStream("responseEvent", path, { ...greedy, input: "Hello.", stream: true, top_logprobs: 2 });
    const { id } = (events[0] as { response: Json }).response;
    const again = `${path}/${String(id)}?stream=true&starting_after=1`;
    expect(await checkedStream("responseEvent", again)).toEqual(events.slice(2));
  });

  it("and others are found out", () => {
    expect(() => checkShape("model", { id: "pocket", object: "model", created: "today", owned_by: "us" })).toThrow(
      /model\/created must be number/,
    );
  });

  it("of conversations and models", async () => {
    const chat = await checked("conversation", "/v1/conversations", { metadata: { a: "b" } });
    const path = `/v1/conversations/${String(chat["id"])}`;
    await checked("response", "/v1/responses", { ...greedy, input: messages, conversation: chat["id"] });
    await checked("conversation", path);
    await checked("conversation", path, { metadata: {} });
    await checked("conversationItems", `${path}/items`);
    await checked("conversation", `${path}/fork`, {});
    expect(await checked("conversationDeleted", path, undefined, "DELETE")).toMatchObject({ id: chat["id"] });
    expect(await checked("model", "/v1/models/pocket")).toMatchObject({ id: "pocket" });
  });
});
