// Clients that behave badly, against a real server: one that vanishes, one that reads slowly, one that sends too much.
import { get, request as httpRequest, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { ask, complete, respond, settled } from "./client.ts";
import { openDatabases } from "./database.ts";

/** Stop tokens that are never chosen: pocket talks on until it has said as much as it may. */
const endless = { logit_bias: { 1: -100, 5: -100 } };
const text = "Tell me a story about a fox.";

let server: TestServer;
beforeAll(async () => void (server = await startServer()));
afterAll(() => server.stop());

/** Streams a request and goes away after the first event with text; what it had read. */
async function vanish(path: string, body: object): Promise<string> {
  const client = new AbortController();
  const response = await ask(server, path, { model: "pocket", stream: true, ...body }, client.signal);
  expect(response.status).toBe(200);
  let read = "";
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    read += piece;
    if (/"(delta|content)":\s*"[^"]/.test(read)) break;
  }
  client.abort();
  return read;
}

describe("a client that vanishes in the middle of a stream", () => {
  const ended = () => [...server.log().matchAll(/^\{.*"event":"turn".*$/gm)].map(([line]) => JSON.parse(line));

  it("ends the turn of a chat completion, which stays as far as it came", async () => {
    const messages = [{ role: "user", content: "Hello, I vanish." }];
    const before = ended().length;
    await vanish("/v1/chat/completions", { messages, max_tokens: 60_000, ...endless });
    await expect.poll(() => ended().length).toBe(before + 1);
    await server.kill("SIGKILL");
    const [database] = await openDatabases(server);
    const turns = database!.prepare("SELECT status, finished_ms - created_ms AS ms FROM turns").all();
    database!.close();
    await server.restart();
    expect(turns).toMatchObject([{ status: "cancelled" }]);
    expect(turns[0]!["ms"]).toBeLessThan(8_000);
  });

  it("ends the turn of one that nobody streams as well, some seconds later", async () => {
    const before = ended().length;
    const client = new AbortController();
    const messages = [{ role: "user", content: "Hello, I vanish and wait for no word." }];
    const asked = ask(server, "/v1/chat/completions", { messages, max_tokens: 60_000, ...endless }, client.signal);
    await sleep(500);
    client.abort();
    await expect(asked).rejects.toThrow("abort");
    await expect.poll(() => ended().length, { timeout: 20_000 }).toBe(before + 1);
    expect(ended().at(-1)).toMatchObject({ turn_status: "cancelled", ms: expect.toSatisfy((ms) => ms < 8_000) });
  });

  it("does not end a response, which is there when the client comes back", async () => {
    const body = { input: text, temperature: 0.9, seed: 3 };
    const expected = await respond(server, body);
    const read = await vanish("/v1/responses", body);
    const [id] = /resp_\w+/.exec(read)!;
    const reply = await settled(server, id);
    expect(reply.status).toBe("completed");
    expect(reply.text).toBe(expected.text);
  });
});

describe("a long answer that nobody streams", () => {
  it("is JSON with spaces before it", async () => {
    const messages = [{ role: "user", content: "Hello, I wait." }];
    const response = await ask(server, "/v1/chat/completions", { messages, max_tokens: 12_000, ...endless });
    expect(response.headers.get("content-type")).toBe("application/json");
    const answer = await response.text();
    expect(answer.slice(0, answer.indexOf("{"))).toMatch(/^ +$/);
    expect(JSON.parse(answer)).toMatchObject({ usage: { completion_tokens: 12_000 } });
  });
});

describe("a slow reader", () => {
  it("gets the whole reply, and holds up nobody", async () => {
    const body = { input: text, stream: true, model: "pocket", temperature: 0.9, seed: 3 };
    const expected = await respond(server, { ...body, stream: false });
    const slow = await post("/v1/responses", body);
    await new Promise((resolve) => slow.once("readable", resolve));
    slow.pause();
    const startMs = performance.now();
    await complete(server, [{ role: "user", content: "How are you?" }]);
    expect(performance.now() - startMs).toBeLessThan(5_000);
    await sleep(1_000);
    let read = "";
    for await (const piece of slow.setEncoding("utf8")) {
      read += piece;
      await sleep(5);
    }
    const deltas = [...read.matchAll(/^data: (\{.*"response\.output_text\.delta".*\})$/gm)];
    const said = deltas.map(([, data]) => (JSON.parse(data!) as { delta: string }).delta).join("");
    expect(said).toBe(expected.text);
    expect(read.trimEnd().endsWith("[DONE]")).toBe(true);
  });
});

describe("a body that is too large", () => {
  const body = JSON.stringify({ model: "pocket", input: "x".repeat(3_000_000) });

  it("is refused with 413, and the server goes on", async () => {
    const response = await fetch(`${server.url}/v1/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    expect(response.status).toBe(413);
    expect(((await response.json()) as { error: { code: string } }).error.code).toBe("body_too_large");
    expect((await respond(server, { input: "Hello!" })).status).toBe("completed");
  });

  it("is refused as well when its length is not announced", async () => {
    const response = await post("/v1/responses", body, { "transfer-encoding": "chunked" });
    expect(response.statusCode).toBe(413);
    response.resume();
    expect((await respond(server, { input: "Hello!" })).status).toBe("completed");
  });
});

describe("connections that break at any point", () => {
  it("leave a server that answers", async () => {
    for (let bytes = 0; bytes < 200; bytes += 20) {
      const half = httpRequest(`${server.url}/v1/responses`, {
        method: "POST",
        headers: { "content-type": "application/json", "content-length": 200 },
      });
      half.on("error", () => undefined);
      half.write(JSON.stringify({ model: "pocket", input: text }).slice(0, bytes));
      await sleep(2);
      half.destroy();
    }
    const response = await new Promise<IncomingMessage>((resolve) => void get(`${server.url}/health`, resolve));
    expect(response.statusCode).toBe(200);
    response.resume();
    expect((await respond(server, { input: "Hello!" })).status).toBe("completed");
  });
});

/** A POST whose answer is read at the test's own pace. */
function post(path: string, body: object | string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", headers: { "content-type": "application/json", ...headers } };
    const sent = httpRequest(`${server.url}${path}`, options, resolve);
    let isAnswered = false;
    sent.on("response", () => (isAnswered = true));
    // A server may answer and hang up before it has read everything.
    sent.on("error", (error) => isAnswered || reject(error));
    sent.end(typeof body === "string" ? body : JSON.stringify(body));
  });
}
