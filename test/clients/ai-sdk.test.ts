// Vercel's AI SDK against a real server: OpenAI's provider with either API, and the one for compatible servers.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText, type ModelMessage } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
/** The bodies that were sent, and what was answered to them where that was JSON. */
const sent: Record<string, unknown>[] = [];
const answers: Record<string, unknown>[] = [];

beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const recorded: typeof fetch = async (url, init) => {
  sent.push(JSON.parse(String(init?.body)) as Record<string, unknown>);
  const answer = await fetch(url, init);
  const isJson = answer.headers.get("content-type")?.includes("json") ?? false;
  if (isJson) answers.push((await answer.clone().json()) as Record<string, unknown>);
  return answer;
};

const settings = () => ({ baseURL: `${server.url}/v1`, apiKey: "none", fetch: recorded });
const modelOf = {
  chat: (id: string) => createOpenAI(settings()).chat(id),
  responses: (id: string) => createOpenAI(settings()).responses(id),
  compatible: (id: string) => createOpenAICompatible({ name: "griffin", ...settings() })(id),
};
const user = (content: string): ModelMessage => ({ role: "user", content });
const fox = "Tell me a story about a fox.";

describe.each(["chat", "responses", "compatible"] as const)("the AI SDK, %s", (kind) => {
  const model = () => modelOf[kind]("pocket");
  const plain = { temperature: 0, maxRetries: 0 };

  it("answers, with usage", async () => {
    const { text, usage, finishReason } = await generateText({ ...plain, model: model(), prompt: "My name is Ada." });
    expect(text).toContain("Ada");
    expect(finishReason).toBe("stop");
    expect(usage.outputTokens).toBeGreaterThan(2);
    expect(usage.totalTokens).toBe((usage.inputTokens ?? 0) + (usage.outputTokens ?? 0));
  });

  it("streams the same text, and its usage", async () => {
    const whole = await generateText({ ...plain, model: model(), prompt: fox });
    const stream = streamText({ ...plain, model: model(), prompt: fox });
    const pieces: string[] = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    expect(pieces.join("")).toBe(whole.text);
    expect(pieces.length).toBeGreaterThan(5);
    if (kind !== "compatible") expect((await stream.usage).outputTokens).toBe(whole.usage.outputTokens);
    expect(await stream.finishReason).toBe("stop");
  });

  it("goes on over several turns without computing anything twice", async () => {
    const messages: ModelMessage[] = [user("My name is Ada.")];
    const system = "You are kind.";
    for (const next of [fox, "What is 7 plus 5?", "What is my name?"]) {
      const { response } = await generateText({ ...plain, model: model(), instructions: system, messages });
      messages.push(...response.messages, user(next));
    }
    const last = await generateText({ ...plain, model: model(), instructions: system, messages });
    expect(last.text).toContain("Ada");
    expect(answers.at(-1)).toMatchObject({ state: "restored" });
    expect(last.usage.inputTokenDetails.cacheReadTokens).toBeGreaterThan((last.usage.inputTokens ?? 0) / 2);
    if (kind !== "responses") return;
    // The provider knows that earlier replies are stored, and sends their ids alone.
    const { input } = sent.at(-1) as { input: { type?: string }[] };
    expect(input.filter(({ type }) => type === "item_reference")).toHaveLength(3);
  });

  it("ends what is aborted", async () => {
    const abort = new AbortController();
    const stream = streamText({ ...plain, model: model(), prompt: fox, abortSignal: abort.signal });
    let read = "";
    let aborted = false;
    for await (const part of stream.fullStream) {
      if (part.type === "text-delta") read += part.text;
      if (read !== "") abort.abort();
      aborted ||= part.type === "abort";
    }
    expect(read).not.toBe("");
    expect(aborted).toBe(true);
  });

  it("gets errors in its own class", async () => {
    const failure: unknown = await generateText({ ...plain, model: modelOf[kind]("nobody"), prompt: fox }).catch(
      (reason: unknown) => reason,
    );
    if (!APICallError.isInstance(failure)) throw new Error(`expected an APICallError, got ${String(failure)}`);
    expect(failure).toMatchObject({ statusCode: 404, isRetryable: false });
    expect(failure.message).toContain("There is no such model");
  });
});

interface Answer extends Record<string, unknown> {
  id: string;
  output: { id: string; content: { text: string }[] }[];
  usage: { input_tokens: number };
  error: { code: string; param: string } | null;
}

describe("references to items", () => {
  const ask = async (input: unknown[], rest: object = {}): Promise<Answer & { status: unknown }> => {
    const body = JSON.stringify({ model: "pocket", temperature: 0, input, ...rest });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${server.url}/v1/responses`, { method: "POST", headers, body });
    return { status: answer.status, ...((await answer.json()) as Answer) };
  };
  const refer = (id: string) => ({ type: "item_reference", id });

  it("go on from the state of the turn whose whole past was sent, and only then", async () => {
    const first = await ask([user("My name is Ada.")], { instructions: "Be kind." });
    const reply = refer(first.output[0]?.id ?? "");
    const next = user("What is my name?");
    const known = await ask([user("My name is Ada."), reply, next], { instructions: "Be kind." });
    expect(known).toMatchObject({ state: "restored", previous_response_id: first.id });
    const others = [
      await ask([user("My name is Ada."), reply, next]),
      await ask([user("My name is Tom."), reply, next], { instructions: "Be kind." }),
      await ask([reply, next], { instructions: "Be kind." }),
    ];
    for (const other of others) expect(other).toMatchObject({ state: "cold", previous_response_id: null });
    const spelt = { role: "assistant", content: first.output[0]?.content[0]?.text ?? "" };
    const cold = await ask([user("My name is Ada."), spelt, next], { instructions: "Be kind." });
    expect(cold.usage.input_tokens).toBe(known.usage.input_tokens);
    expect(cold.output[0]?.content).toEqual(known.output[0]?.content);
  });

  it("do not go on from a turn that was told of other tools", async () => {
    const tool = (name: string) => ({ type: "function", name, parameters: { type: "object", properties: {} } });
    const told = { tools: [tool("get_time")], tool_choice: "none" };
    const said = user("My name is Ada.");
    const first = await ask([said], told);
    const input = [said, refer(first.output[0]?.id ?? ""), user("What is my name?")];
    expect(await ask(input, told)).toMatchObject({ state: "restored", previous_response_id: first.id });
    for (const rest of [{}, { ...told, tools: [tool("get_place")] }]) {
      expect(await ask(input, rest)).toMatchObject({ state: "cold", previous_response_id: null });
    }
  });

  it("to what is not there are refused by their place", async () => {
    const unkept = await ask([user("Hello.")], { store: false });
    const ids = ["msg_x", `msg_${"a".repeat(32)}_1_0`, unkept.output[0]?.id ?? "", "SECRET"];
    for (const id of ids) {
      const { status, error } = await ask([user("Hello."), refer(id)]);
      expect({ status, ...error }).toMatchObject({ status: 400, code: "invalid_argument", param: "input[1].id" });
      expect(JSON.stringify(error)).not.toContain("SECRET");
    }
  });
});
