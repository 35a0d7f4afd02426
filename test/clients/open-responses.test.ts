// The compliance cases of Open Responses (specification of 2026-04-24), written anew over plain HTTP: each response
// completes and has the shape that the specification asks for, and what this server cannot read is refused in clear words.
// https://www.openresponses.org
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { checkShape } from "./openai-shapes.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

type Json = Record<string, unknown>;
interface ResponseBody extends Json {
  id: string;
  status: string;
  output: (Json & { type: string })[];
}

const greedy = { model: "pocket", temperature: 0 };
const post = (body: Json) =>
  fetch(`${server.url}/v1/responses`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...greedy, ...body }),
  });

/** A response that completed. */
async function completed(body: Json): Promise<ResponseBody> {
  const answer = await post(body);
  const value = (await answer.json()) as ResponseBody;
  expect(answer.status, JSON.stringify(value)).toBe(200);
  checkShape("response", value);
  expect(value).toMatchObject({ object: "response", status: "completed", error: null, incomplete_details: null });
  expect(value.output.length).toBeGreaterThan(0);
  expect(value["completed_at"]).toBeTypeOf("number");
  return value;
}

const textOf = ({ output }: ResponseBody) =>
  output.flatMap((item) => ((item["content"] ?? []) as { text: string }[]).map(({ text }) => text)).join("");

const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather at a place",
  parameters: {
    type: "object",
    properties: { location: { type: "string", maxLength: 20 } },
    required: ["location"],
    additionalProperties: false,
  },
};
const demanded = { tools: [weather], tool_choice: "required" };
const question = "What is the weather like in San Francisco?";

describe("Open Responses", () => {
  it("basic text: answers a message", async () => {
    const response = await completed({ input: [{ type: "message", role: "user", content: "Say hello." }] });
    expect(response.output[0]).toMatchObject({ type: "message", role: "assistant", status: "completed" });
    expect(textOf(response)).not.toBe("");
  });

  it("streaming: every event has its type and number, and the last one the whole response", async () => {
    const answer = await post({
      input: [{ type: "message", role: "user", content: "Count from 1 to 5." }],
      stream: true,
    });
    expect(answer.headers.get("content-type")).toMatch(/^text\/event-stream/);
    const blocks = (await answer.text())
      .trim()
      .split("\n\n")
      .filter((block) => !block.startsWith(":"));
    expect(blocks.at(-1)).toBe("data: [DONE]");
    const events = blocks.slice(0, -1).map((block) => {
      const [, type, data = ""] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? [];
      const event = JSON.parse(data) as Json;
      expect(event["type"]).toBe(type);
      checkShape("responseEvent", event);
      return event;
    });
    expect(events.map((event) => event["sequence_number"])).toEqual(events.map((_, index) => index));
    expect(events[0]).toMatchObject({ type: "response.created", response: { status: "in_progress", output: [] } });
    const last = events.at(-1) as { type: string; response: ResponseBody };
    expect(last.type).toBe("response.completed");
    expect(last.response.status).toBe("completed");
    const deltas = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
    expect(deltas.join("")).toBe(textOf(last.response));
  });

  it("system prompt: messages of the roles system and developer, and instructions", async () => {
    for (const role of ["system", "developer"]) {
      const told = { type: "message", role, content: "You are a pirate." };
      await completed({ input: [told, { type: "message", role: "user", content: "Say hello." }] });
    }
    const response = await completed({ input: "Say hello.", instructions: "You are a pirate." });
    expect(response["instructions"]).toBe("You are a pirate.");
  });

  it("tool calling: the output has a call with arguments of the tool's schema", async () => {
    const response = await completed({ ...demanded, input: [{ type: "message", role: "user", content: question }] });
    const [call] = response.output;
    expect(call).toMatchObject({ type: "function_call", name: "get_weather", status: "completed" });
    expect(call?.["call_id"]).toBeTypeOf("string");
    expect(JSON.parse(String(call?.["arguments"]))).toEqual({ location: expect.any(String) });
    expect(response).toMatchObject({ tools: [{ name: "get_weather" }], tool_choice: "required" });
  });

  it("tool calling: is left to the model, or forbidden", async () => {
    for (const tool_choice of ["auto", "none"]) {
      const response = await completed({ tools: [weather], tool_choice, input: "My name is Ada." });
      expect(response).toMatchObject({ tool_choice, parallel_tool_calls: true, output: [{ type: "message" }] });
    }
  });

  it("function_call_output: goes on from a call with its answer, the history sent again", async () => {
    const input: Json[] = [{ type: "message", role: "user", content: question }];
    const { output } = await completed({ ...demanded, input });
    const answer = { type: "function_call_output", call_id: output[0]?.["call_id"], output: '{"temperature": 18}' };
    const next = await completed({ tools: [weather], input: [...input, ...output, answer], max_output_tokens: 500 });
    expect(next.output).toHaveLength(1);
  });

  it("function_call_output: goes on from a call with its answer alone", async () => {
    const called = await completed({ ...demanded, input: question });
    const answer = { type: "function_call_output", call_id: called.output[0]?.["call_id"], output: "Sunny." };
    const next = await completed({ input: [answer], previous_response_id: called.id, max_output_tokens: 500 });
    expect(next).toMatchObject({ previous_response_id: called.id, output: [{ type: "message" }] });
  });

  it("multi-turn: knows what was said before in the input", async () => {
    const response = await completed({
      input: [
        { type: "message", role: "user", content: "My name is Ada." },
        { type: "message", role: "assistant", content: [{ type: "output_text", text: "Hello, Ada!" }] },
        { type: "message", role: "user", content: "What is my name?" },
      ],
    });
    expect(textOf(response)).toContain("Ada");
  });

  it("previous_response_id: knows what was said in the responses before", async () => {
    const first = await completed({ input: "My name is Ada." });
    const next = await completed({ input: "What is my name?", previous_response_id: first.id });
    expect(textOf(next)).toContain("Ada");
    const unknown = await post({ input: "Hi.", previous_response_id: "resp_0" });
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toMatchObject({ error: { code: "previous_response_not_found" } });
  });

  it("structured output: is JSON of the schema", async () => {
    const schema = {
      type: "object",
      properties: { ok: { type: "boolean" } },
      required: ["ok"],
      additionalProperties: false,
    };
    const format = { type: "json_schema", name: "answer", schema, strict: true };
    const response = await completed({ input: "Is it?", text: { format } });
    expect(JSON.parse(textOf(response))).toEqual({ ok: expect.any(Boolean) });
    expect(response["text"]).toMatchObject({ format });
  });

  it.each([
    { type: "input_image", image_url: "https://example.com/a.png" },
    { type: "image_url", image_url: { url: "https://example.com/a.png" } },
    { type: "input_file", file_id: "file_1" },
  ])("refuses a part of type $type, by name", async (part) => {
    const answer = await post({
      input: [{ role: "user", content: [{ type: "input_text", text: "What is this?" }, part] }],
    });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      error: { code: "unsupported", param: "input[0].content[1].type", type: "invalid_request_error" },
    });
  });

  it.each(["web_search", "file_search", "mcp", "custom", "code_interpreter"])(
    "refuses a tool of type %s",
    async (type) => {
      const answer = await post({ input: "Hi.", tools: [{ type, name: "a" }] });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { code: "unsupported", param: "tools[0].type" } });
    },
  );
});
