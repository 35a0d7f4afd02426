// Structured output and tools as the AI SDK and LangChain use them, over chat completions and over responses.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, Output, stepCountIs, streamText, tool, type LanguageModel } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const schema = z.object({ name: z.string().max(10), ok: z.boolean() });
const city = z.object({ city: z.string().max(5) });

const models: Record<string, () => LanguageModel> = {
  "openai's responses": () => createOpenAI({ baseURL: `${server.url}/v1`, apiKey: "none" })("pocket"),
  "openai's chat": () => createOpenAI({ baseURL: `${server.url}/v1`, apiKey: "none" }).chat("pocket"),
  "a compatible chat": () =>
    createOpenAICompatible({ name: "griffin", baseURL: `${server.url}/v1`, supportsStructuredOutputs: true })("pocket"),
};

describe.each(Object.keys(models))("the AI SDK, as %s", (name) => {
  it("gets an object of a schema", async () => {
    const asked = { model: models[name]!(), prompt: "My name is Ada.", output: Output.object({ schema }) };
    const { output } = await generateText(asked);
    expect(schema.parse(output)).toEqual(output);
  });

  it("runs a tool, and goes on with what it answered", async () => {
    const given: unknown[] = [];
    const execute = async (value: unknown) => {
      given.push(value);
      return { temperature: 12 };
    };
    const result = streamText({
      model: models[name]!(),
      prompt: "How is the weather?",
      tools: { weather: tool({ description: "The weather in a city", inputSchema: city, execute }) },
      stopWhen: stepCountIs(2),
      maxOutputTokens: 200,
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
    });
    await result.consumeStream();
    const steps = await result.steps;
    expect(steps.map(({ finishReason }) => finishReason)[0]).toBe("tool-calls");
    expect(given).toHaveLength(1);
    expect(city.parse(given[0])).toEqual(given[0]);
    expect(steps).toHaveLength(2);
    expect(steps[1]?.text).not.toBe("");
  });
});

describe.each([false, true])("LangChain, over responses: %s", (useResponsesApi) => {
  const model = () =>
    new ChatOpenAI({
      model: "pocket",
      apiKey: "none",
      useResponsesApi,
      maxTokens: 300,
      configuration: { baseURL: `${server.url}/v1` },
    });

  it.each(["jsonSchema", "functionCalling"] as const)("gets an object of a schema by %s", async (method) => {
    const value = await model().withStructuredOutput(schema, { method, name: "thing" }).invoke("My name is Ada.");
    expect(schema.parse(value)).toEqual(value);
  });

  it("calls a tool by its name", async () => {
    const weather = langchainTool(({ city: place }) => place, {
      name: "weather",
      description: "It tells.",
      schema: city,
    });
    const bound = model().bindTools([weather], { tool_choice: { type: "function", function: { name: "weather" } } });
    const { tool_calls: calls } = await bound.invoke("How is the weather?");
    expect(calls).toMatchObject([{ name: "weather", args: { city: expect.any(String) } }]);
  });
});
