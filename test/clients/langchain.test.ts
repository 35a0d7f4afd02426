// LangChain's client against a real server, with either of OpenAI's APIs.
import { AIMessage, HumanMessage, SystemMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

describe.each([
  ["chat completions", false],
  ["responses", true],
])("@langchain/openai, %s", (_, useResponsesApi) => {
  const clientOf = (options: { model?: string; maxTokens?: number } = {}) =>
    new ChatOpenAI({
      model: "pocket",
      temperature: 0,
      apiKey: "none",
      maxRetries: 0,
      useResponsesApi,
      configuration: { baseURL: `${server.url}/v1` },
      ...options,
    });

  it("answers, with usage", async () => {
    const answer = await clientOf().invoke("My name is Ada.");
    expect(answer.text).toContain("Ada");
    expect(answer.usage_metadata?.output_tokens).toBeGreaterThan(2);
    expect(answer.usage_metadata?.input_tokens).toBeGreaterThan(5);
  });

  it("streams the same text", async () => {
    const whole = await clientOf().invoke("Tell me a story about a fox.");
    const pieces: string[] = [];
    for await (const chunk of await clientOf().stream("Tell me a story about a fox.")) pieces.push(chunk.text);
    expect(pieces.join("")).toBe(whole.text);
    expect(pieces.filter((piece) => piece !== "").length).toBeGreaterThan(5);
  });

  it("goes on over several turns", async () => {
    const history = [new SystemMessage("Be kind."), new HumanMessage("My name is Ada.")];
    const first = await clientOf().invoke(history);
    const answer = await clientOf().invoke([
      ...history,
      new AIMessage(first.text),
      new HumanMessage("What is my name?"),
    ]);
    expect(answer.text).toContain("Ada");
  });

  it("gets errors as openai's client does", async () => {
    await expect(clientOf({ model: "nobody" }).invoke("Hello.")).rejects.toMatchObject({ status: 404 });
  });

  it("can be stopped", async () => {
    const abort = new AbortController();
    const stream = await clientOf().stream("Tell me a story about a fox.", { signal: abort.signal });
    const read = async () => {
      for await (const chunk of stream) if (chunk.text !== "") abort.abort();
    };
    await expect(read()).rejects.toThrow(/abort/i);
  });
});
