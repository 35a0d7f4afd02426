// Structured output as openai's client asks for it, and by vLLM's names, against a real server: replies of a small model
// are in their format whatever it would rather say.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

const model = "pocket";
const messages = [{ role: "user" as const, content: "My name is Ada." }];
const person = z.object({
  name: z.string().max(20),
  age: z.int().min(0).max(130),
  color: z.enum(["red", "green"]).nullable(),
  tags: z.array(z.string().max(5)).max(2),
});

const refusalOf = (request: PromiseLike<unknown>) =>
  Promise.resolve(request).then(
    () => null,
    (error: unknown) => error,
  );

describe("chat completions", () => {
  it("are what a zod schema says, parsed by the client", async () => {
    for (const seed of [1, 2, 3]) {
      const { choices } = await client.chat.completions.parse({
        model,
        seed,
        messages,
        response_format: zodResponseFormat(person, "person"),
      });
      expect(choices[0]?.finish_reason).toBe("stop");
      expect(person.parse(choices[0]?.message.parsed)).toEqual(choices[0]?.message.parsed);
    }
  });

  it("are the same when they are streamed", async () => {
    const asked = { model, seed: 4, messages, response_format: zodResponseFormat(person, "person") };
    const whole = await client.chat.completions.create(asked);
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    expect(text).toBe(whole.choices[0]?.message.content);
  });

  it("are any JSON object, until they are cut", async () => {
    const { choices } = await client.chat.completions.create({
      model,
      seed: 1,
      messages,
      max_tokens: 300,
      response_format: { type: "json_object" },
    });
    const content = choices[0]?.message.content ?? "";
    expect(content).toMatch(/^\{/);
    if (choices[0]?.finish_reason === "stop") expect(JSON.parse(content)).toBeTypeOf("object");
    else expect(choices[0]?.finish_reason).toBe("length");
  });

  it("match a pattern, or are one of several texts", async () => {
    const ask = async (structured_outputs: object) => {
      const answer = await client.chat.completions.create({ model, seed: 3, messages, structured_outputs } as never);
      return (answer as OpenAI.ChatCompletion).choices[0]?.message.content;
    };
    expect(await ask({ regex: "[A-Z][a-z]{2,5} is \\d{1,2}" })).toMatch(/^[A-Z][a-z]{2,5} is \d{1,2}$/);
    expect(await ask({ choice: ["positive", "negative"] })).toMatch(/^(positive|negative)$/);
  });

  it("tell the model's own log-probabilities, whatever it may say", async () => {
    const { choices } = await client.chat.completions.create({
      model,
      messages,
      logprobs: true,
      response_format: zodResponseFormat(person, "person"),
    });
    const { content } = choices[0]?.logprobs ?? {};
    expect(content?.map(({ token }) => token).join("")).toContain(choices[0]?.message.content);
  });

  it("are refused where they could not be held to the format, before anything runs", async () => {
    const schema = { type: "array", items: {}, uniqueItems: true };
    const format = { type: "json_schema" as const, json_schema: { name: "list", schema } };
    const error = await refusalOf(client.chat.completions.create({ model, messages, response_format: format }));
    expect(error).toMatchObject({ status: 400, code: "unsupported", param: "response_format.json_schema.schema" });
    expect((error as Error).message).toContain("uniqueItems");
    const pattern = { model, messages, structured_outputs: { regex: "(" } } as never;
    expect(await refusalOf(client.chat.completions.create(pattern))).toMatchObject({
      status: 400,
      code: "invalid_argument",
      param: "structured_outputs.regex",
    });
  });
});

describe("responses", () => {
  it("are what a zod schema says, and say the format again", async () => {
    const text = { format: zodTextFormat(person, "person") };
    const answer = await client.responses.parse({ model, input: messages, text });
    expect(answer.status).toBe("completed");
    expect(person.parse(answer.output_parsed)).toEqual(answer.output_parsed);
    expect(answer.text?.format).toMatchObject({ type: "json_schema", name: "person", strict: true });
    const kept = await client.responses.retrieve(answer.id);
    expect(kept.output_text).toBe(answer.output_text);
    // The next one is free again.
    const next = await client.responses.create({
      model,
      input: "Hello.",
      temperature: 0,
      previous_response_id: answer.id,
    });
    expect(next.text?.format).toEqual({ type: "text" });
    expect(next.output_text).not.toMatch(/^\{/);
  });

  it("that are cut say so", async () => {
    const text = { format: zodTextFormat(person, "person") };
    const answer = await client.responses.create({ model, input: messages, text, max_output_tokens: 3 });
    expect(answer).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  });

  it("are refused by the name of their field", async () => {
    const format = { type: "json_schema" as const, name: "a", schema: { not: {} } };
    const error = await refusalOf(client.responses.create({ model, input: "Hi", text: { format } }));
    expect(error).toMatchObject({ status: 400, code: "unsupported", param: "text.format.schema" });
  });
});

describe("completions", () => {
  it("are held to a format as well, each choice of them", async () => {
    const asked = { model, prompt: ["My name is", "The fox is"], n: 2, max_tokens: 40, seed: 1 };
    const answer = await client.completions.create({ ...asked, structured_outputs: { regex: " [a-z]{1,8}" } } as never);
    for (const { text } of (answer as OpenAI.Completion).choices) expect(text).toMatch(/^ [a-z]{1,8}$/);
  });
});
