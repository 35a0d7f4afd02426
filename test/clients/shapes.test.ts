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

  it("of calls of tools, and of replies in a format", async () => {
    const parameters = { type: "object", properties: { city: { type: "string", maxLength: 9 } }, required: ["city"] };
    const weather = { name: "get_weather", description: "It tells.", parameters, strict: true };
    const chat = { ...greedy, messages, tools: [{ type: "function", function: weather }], tool_choice: "required" };
    const path = "/v1/chat/completions";
    const called = await checked("chatCompletion", path, chat);
    const [{ message } = { message: {} }] = called["choices"] as { message: Json }[];
    const [call] = message["tool_calls"] as Json[];
    const answer = { role: "tool", tool_call_id: call?.["id"], content: "Rain" };
    await checked("chatCompletion", path, { ...chat, messages: [...messages, message, answer], tool_choice: "auto" });
    const chunks = await checkedStream("chatCompletionChunk", path, { ...chat, stream: true, logprobs: true });
    expect(JSON.stringify(chunks)).toContain("tool_calls");

    const tools = [{ type: "function", ...weather }];
    const response = { ...greedy, input: "Hello.", tools, tool_choice: { type: "function", name: "get_weather" } };
    const first = await checked("response", "/v1/responses", response);
    const events = await checkedStream("responseEvent", "/v1/responses", {
      ...response,
      stream: true,
      top_logprobs: 2,
    });
    expect(events.map(({ type }) => type)).toContain("response.function_call_arguments.done");
    const [{ call_id: id } = {}] = first["output"] as Json[];
    const input = [{ type: "function_call_output", call_id: id, output: "Rain" }];
    await checked("response", "/v1/responses", { ...greedy, input, previous_response_id: first["id"] });

    const schema = { type: "object", properties: { a: { type: "integer" } } };
    const format = { type: "json_schema", name: "thing", schema };
    await checked("response", "/v1/responses", { ...greedy, input: "Hello.", text: { format } });
    const response_format = { type: "json_schema", json_schema: { name: "thing", schema } };
    await checkedStream("chatCompletionChunk", path, { ...greedy, messages, response_format, stream: true });
  });

  it("and others are found out", () => {
    expect(() => checkShape("model", { id: "pocket", object: "model", created: "today", owned_by: "us" })).toThrow(
      /model\/created must be number/,
    );
  });

  it("of webhook endpoints", async () => {
    const path = "/v1/webhook_endpoints";
    const made = await checked("webhookEndpointWithSecret", path, { url: "https://hooks.example.com/a" });
    const one = `${path}/${String(made["id"])}`;
    await checked("webhookEndpoint", one);
    await checked("webhookEndpoint", one, { name: "mine" });
    await checked("webhookEndpointList", path);
    await checked("webhookEndpointWithSecret", `${one}/rotate_secret`, {});
    await checked("webhookEventTypeList", "/v1/webhook_event_types");
    expect(await checked("deletedWebhookEndpoint", one, undefined, "DELETE")).toMatchObject({ id: made["id"] });
  });

  it("of conversations and models", async () => {
    const chat = await checked("conversation", "/v1/conversations", { metadata: { a: "b" } });
    const path = `/v1/conversations/${String(chat["id"])}`;
    await checked("response", "/v1/responses", { ...greedy, input: messages, conversation: chat["id"] });
    await checked("conversation", path);
    await checked("conversation", path, { metadata: {} });
    const tools = [{ type: "function", name: "get_time", parameters: null }];
    const called = { ...greedy, input: "Hello.", tools, tool_choice: "required", conversation: chat["id"] };
    const [{ call_id: id } = {}] = (await checked("response", "/v1/responses", called))["output"] as Json[];
    const answer = [{ type: "function_call_output", call_id: id, output: "Noon" }];
    await checked("response", "/v1/responses", { ...greedy, input: answer, conversation: chat["id"] });
    await checked("conversationItems", `${path}/items`);
    await checked("conversation", `${path}/fork`, {});
    expect(await checked("conversationDeleted", path, undefined, "DELETE")).toMatchObject({ id: chat["id"] });
    expect(await checked("model", "/v1/models/pocket")).toMatchObject({ id: "pocket" });
  });
});
