// Moderation by a service over HTTP, as clients of a real server meet it.
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

let service: Server;
let server: TestServer;
let client: OpenAI;
const asked: string[] = [];
let authorization: string | undefined;
/** What the service flags. */
let flagged = /fox/;

beforeAll(async () => {
  service = createServer((request, response) => {
    let text = "";
    request.on("data", (piece) => (text += piece));
    request.on("end", () => {
      const { input } = JSON.parse(text) as { input: string };
      asked.push(input);
      authorization = request.headers.authorization;
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ results: [{ flagged: flagged.test(input) }] }));
    });
  }).listen(0, "127.0.0.1");
  await once(service, "listening");
  const { port } = service.address() as AddressInfo;
  const MODERATION = JSON.stringify({ url: `http://127.0.0.1:${port}/v1/moderations` });
  server = await startServer({ environment: { MODERATION, MODERATION_KEY: "service key" } });
  client = new OpenAI({ apiKey: "any", baseURL: `${server.url}/v1`, maxRetries: 0 });
});
afterAll(async () => {
  await server.stop();
  service.close();
});

const greedy = { model: "pocket", temperature: 0 };
const fox = "Tell me a story about a fox.";

it("what is not flagged is answered, and the service has seen all of it", async () => {
  const { output_text } = await client.responses.create({ ...greedy, input: "My name is Ada." });
  expect(output_text).toContain("Ada");
  expect(asked).toEqual(["My name is Ada.", output_text]);
  expect(authorization).toBe("Bearer service key");
});

it("a flagged message is refused in each API's own form", async () => {
  const messages = [{ role: "user" as const, content: fox }];
  const { choices } = await client.chat.completions.create({ ...greedy, messages });
  expect(choices[0]).toMatchObject({ finish_reason: "content_filter", message: { content: null } });
  expect(choices[0]?.message.refusal).toMatch(/^This was refused/);
  let streamed = "";
  for await (const chunk of await client.chat.completions.create({ ...greedy, messages, stream: true })) {
    streamed += chunk.choices[0]?.delta.refusal ?? "";
  }
  expect(streamed).toBe(choices[0]?.message.refusal);

  const response = await client.responses.create({ ...greedy, input: fox });
  const content = [{ type: "refusal", refusal: streamed }];
  expect(response).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "content_filter" },
    output: [{ type: "message", content }],
  });
  expect(await client.responses.retrieve(response.id)).toMatchObject({ status: "incomplete", output: [{ content }] });
  await expect(client.completions.create({ model: "pocket", prompt: fox })).rejects.toMatchObject({ code: "refused" });
});

it("a flagged reply is refused before anybody reads it", async () => {
  flagged = /Your name/;
  const { id } = await client.responses.create({ ...greedy, input: "My name is Ada." });
  const input = "What is my name?";
  const stream = await client.responses.create({ ...greedy, input, previous_response_id: id, stream: true });
  let text = "";
  let refusal = "";
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.refusal.done") refusal = event.refusal;
  }
  expect(text).toBe("");
  expect(refusal).toMatch(/^This was refused/);
});

it("while the service does not answer nothing is said", async () => {
  service.close();
  service.closeAllConnections();
  const answer = client.responses.create({ ...greedy, input: "Hello!" });
  await expect(answer).rejects.toMatchObject({ status: 503, code: "moderation_failed" });
});
