// Tokens of texts, chats and responses, as clients ask for them without a reply.
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask } from "../serve/client.ts";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

async function post<T = object>(route: string, body: object): Promise<T> {
  const response = await ask(server, route, body);
  const text = await response.text();
  if (!response.ok) throw new Error(`status ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}

async function errorOf(body: object, route: string) {
  const response = await ask(server, route, body);
  const { error } = (await response.json()) as { error: { code: string; param: string | null } };
  return { status: response.status, code: error.code, param: error.param };
}

describe("tokenize and detokenize", () => {
  it("give tokens and their text again, with and without the first token, under both addresses", async () => {
    for (const route of ["/v1", ""]) {
      const text = "Ada has 12 \u{1F98A}.";
      const { tokens, ...rest } = await post<{ tokens: number[]; count: number }>(`${route}/tokenize`, {
        prompt: text,
      });
      expect(rest).toEqual({ count: tokens.length, max_model_len: null });
      expect(tokens[0]).toBe(2);
      const bare = await post(`${route}/tokenize`, { text, add_special_tokens: false });
      expect(bare).toEqual({ tokens: tokens.slice(1), count: tokens.length - 1, max_model_len: null });
      expect(await post(`${route}/detokenize`, { tokens })).toEqual({ prompt: text, text });
    }
    expect(await post("/tokenize", { prompt: "" })).toMatchObject({ tokens: [2] });
    expect(await post("/detokenize", { tokens: [] })).toEqual({ prompt: "", text: "" });
  });

  it("give the prompt of a chat, as many tokens as a reply to it reports", async () => {
    const messages = [
      { role: "system", content: "Be kind." },
      { role: "user", content: [{ type: "text", text: "Hi. <end_of_turn> I am Ada." }] },
    ];
    const { count, tokens } = await post<{ count: number; tokens: number[] }>("/tokenize", { messages });
    const { usage } = await post<{ usage: { prompt_tokens: number } }>("/v1/chat/completions", {
      messages,
      max_tokens: 1,
    });
    expect(count).toBe(usage.prompt_tokens);
    expect(tokens.filter((token) => token === 2)).toHaveLength(1);
  });

  it.each([
    ["/tokenize", {}, "prompt"],
    ["/tokenize", { prompt: "x", text: "x" }, "prompt"],
    ["/tokenize", { prompt: ["x"] }, "prompt"],
    ["/tokenize", { messages: [] }, "messages"],
    ["/tokenize", { messages: [{ role: "user", content: "x" }], add_special_tokens: true }, "add_special_tokens"],
    ["/v1/tokenize", { prompt: "x", return_token_strs: true }, "return_token_strs"],
    ["/detokenize", {}, "tokens"],
    ["/detokenize", { tokens: "x" }, "tokens"],
    ["/detokenize", { tokens: [1, -1] }, "tokens"],
    ["/detokenize", { tokens: [1, 2048] }, "tokens"],
    ["/v1/detokenize", { tokens: [0.5] }, "tokens"],
  ])("%s refuses %j", async (route, body, param) => {
    expect(await errorOf(body, route)).toMatchObject({ status: 400, param });
  });

  it("answer other methods and pages of other origins as every route", async () => {
    const { status, headers } = await fetch(`${server.url}/tokenize`, { headers: { origin: "https://example.com" } });
    expect(status).toBe(405);
    expect(headers.get("access-control-allow-origin")).toBe("*");
    const large = await ask(server, "/detokenize", { tokens: Array(600_000).fill(10) });
    expect(large.status).toBe(413);
  });
});

describe("the tokens of a response's input", () => {
  const count = async (body: object) => {
    const answer = await client.responses.inputTokens.count({ model: "pocket", ...body });
    expect(answer.object).toBe("response.input_tokens");
    return answer.input_tokens;
  };
  const respond = (body: object) =>
    client.responses.create({ model: "pocket", temperature: 0, max_output_tokens: 60, ...body });

  it("are those that the response reports: alone, with instructions, after another, in a conversation", async () => {
    const input = "My name is Ada.";
    for (const body of [
      { input },
      { input, instructions: "Be kind." },
      { input: [{ role: "user" as const, content: input }] },
    ]) {
      const counted = await count(body);
      expect((await respond(body)).usage!.input_tokens).toBe(counted);
    }
    const first = await respond({ input });
    const after = { input: "What is my name?", previous_response_id: first.id };
    const counted = await count(after);
    const second = await respond(after);
    expect(second.usage!.input_tokens).toBe(counted);
    expect(counted).toBeGreaterThan(first.usage!.total_tokens);
    expect(await count(after)).toBe(counted);

    const { id: conversation } = await client.conversations.create();
    for (const text of [input, "Tell me a story about a fox.", "What is my name?"]) {
      const body = { conversation, input: text };
      const expected = await count(body);
      // A reply that was cut is closed by the next prompt.
      const { usage } = await respond({ ...body, max_output_tokens: text === input ? 2 : 60 });
      expect(usage!.input_tokens).toBe(expected);
    }
  });

  it("of a place that is not there are refused as the response is", async () => {
    const route = "/v1/responses/input_tokens";
    const nowhere = `conv_${"a".repeat(32)}_0`;
    for (const body of [{ conversation: nowhere }, { previous_response_id: `resp_${"a".repeat(32)}_1` }]) {
      const expected = await errorOf({ input: "Hi.", ...body }, "/v1/responses");
      expect(await errorOf({ input: "Hi.", ...body }, route)).toEqual(expected);
      expect(expected.status).toBe(404);
    }
    expect(await errorOf({}, route)).toMatchObject({ status: 400, param: "input" });
  });
});
