// A server that asks for keys, as openai's client meets it.
import { readdir } from "node:fs/promises";
import OpenAI, { APIError } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { administrator, type Admin } from "../serve/administrator.ts";
import { newApiKey, newTenantId } from "../../src/tenant/api-key.ts";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
let admin: Admin;
beforeAll(async () => {
  server = await startServer({ environment: { ADMIN_KEY: "administrators" } });
  admin = administrator(server.url, "administrators");
});
afterAll(() => server.stop());

const clientOf = (apiKey: string, maxRetries = 0) => new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries });
const greedy = { model: "pocket", temperature: 0 };
const messages = [{ role: "user" as const, content: "My name is Ada." }];

async function failureOf(promise: Promise<unknown>) {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof APIError)) throw new Error(`no failure of the API: ${String(error)}`);
  const { status, code, headers } = error;
  return { status, code, headers: new Headers(headers) };
}

async function newKey(key: object = {}, limits: object = {}) {
  const tenant = await admin.createTenant("t", limits);
  return { tenant: tenant.id, ...(await admin.createKey(tenant.id, { name: "k", ...key })) };
}

describe("without a good key", () => {
  it("nothing under /v1 is answered, and everything with one answer", async () => {
    const { secret } = await newKey();
    const mistyped = `${secret.slice(0, -1)}${secret.endsWith("0") ? "1" : "0"}`;
    for (const key of ["any", mistyped, secret.replace(/^gk_..../, "gk_0000"), "administrators"]) {
      const { status, code, headers } = await failureOf(clientOf(key).models.list());
      expect({ status, code }).toEqual({ status: 401, code: "invalid_api_key" });
      expect(headers.get("www-authenticate")).toBe("Bearer");
      expect(headers.get("x-should-retry")).toBe("false");
    }
    for (const path of ["/v1/responses", "/v1/nothing", "/tokenize", "/metrics", "/v1/admin/tenants"]) {
      expect((await fetch(`${server.url}${path}`)).status, path).toBe(401);
    }
    for (const path of ["/health", "/openapi.json", "/docs/", "/transparency", "/"]) {
      expect((await fetch(`${server.url}${path}`)).status, path).toBe(200);
    }
  });

  it("forged ones included, no object wakes up for it: nothing is written", async () => {
    const { secret } = await newKey();
    expect((await clientOf(secret).models.list()).data).toHaveLength(1);
    const files = async () =>
      (await readdir(server.dataDir, { recursive: true })).filter((name) => !/-(wal|shm)$/.test(name));
    const before = await files();
    for (let n = 0; n < 50; n++) {
      const { status } = await failureOf(clientOf(newApiKey(newTenantId(), `guess ${n}`)).models.list());
      expect(status).toBe(401);
    }
    expect((await files()).sort()).toEqual(before.sort());
    await newKey();
    expect((await files()).length).toBeGreaterThan(before.length);
  });

  it.each([
    ["with a length", (bytes: number): BodyInit => new Uint8Array(bytes)],
    ["in chunks", (bytes: number): BodyInit => new Blob([new Uint8Array(bytes)]).stream()],
  ])("whoever sends a body %s still reads the answer", async (_, bodyOf) => {
    const send = async (path: string, bytes: number, headers: Record<string, string> = {}) =>
      (await fetch(server.url + path, { method: "POST", body: bodyOf(bytes), headers, duplex: "half" } as RequestInit))
        .status;
    for (const path of ["/v1/responses", "/v1/admin/tenants"]) expect(await send(path, 2 ** 20), path).toBe(401);
    const { secret } = await newKey({ scopes: ["read"] });
    const authorization = `Bearer ${secret}`;
    for (const path of ["/v1/conversations", "/v1/responses"]) {
      expect(await send(path, 2 ** 20, { authorization }), path).toBe(403);
      expect(await send(path, 2 ** 23, { authorization }), path).toBe(413);
    }
  });

  it("a web page of another origin still learns what is wrong", async () => {
    const answer = await fetch(`${server.url}/v1/models`, { headers: { origin: "https://example.com" } });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    expect(answer.headers.get("access-control-expose-headers")).toContain("x-ratelimit-remaining-requests");
  });
});

describe("with a key", () => {
  it("clients chat, and what they used is counted", async () => {
    const { tenant, secret } = await newKey();
    const client = clientOf(secret);
    const chat = await client.chat.completions.create({ ...greedy, messages });
    const response = await client.responses.create({ ...greedy, input: "My name is Ada." });
    const completion = await client.completions.create({ model: "pocket", prompt: "The fox", max_tokens: 3 });
    const prompts = chat.usage!.prompt_tokens + response.usage!.input_tokens + completion.usage!.prompt_tokens;
    const replies = chat.usage!.completion_tokens + response.usage!.output_tokens + completion.usage!.completion_tokens;
    await expect
      .poll(async () => (await admin.usage(tenant)).data)
      .toMatchObject([
        { key: "key_1", requests: 3, prompt_tokens: prompts, cached_tokens: 0, completion_tokens: replies },
      ]);
  });

  it("that may only read, clients read", async () => {
    const { secret } = await newKey({ scopes: ["read"] });
    expect((await clientOf(secret).models.list()).data).toHaveLength(1);
    const { status, code } = await failureOf(clientOf(secret).chat.completions.create({ ...greedy, messages }));
    expect({ status, code }).toEqual({ status: 403, code: "insufficient_scope" });
  });

  it("answers tell what is left of its limits, and the rest is refused until the minute is over", async () => {
    while (Date.now() % 60_000 > 50_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    const { secret } = await newKey({}, { requests_per_minute: 2, tokens_per_minute: 3_000 });
    const { response } = await clientOf(secret)
      .chat.completions.create({ ...greedy, messages, max_tokens: 50 })
      .withResponse();
    expect(response.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(response.headers.get("x-ratelimit-remaining-requests")).toBe("1");
    expect(response.headers.get("x-ratelimit-reset-requests")).toMatch(/^\d+(\.\d+)?s$/);
    expect(Number(response.headers.get("x-ratelimit-remaining-tokens"))).toBeLessThan(3_000);
    const tooLong = { ...greedy, messages, max_tokens: 4_000 };
    expect(await failureOf(clientOf(secret).chat.completions.create(tooLong))).toMatchObject({ status: 400 });
    const chat = { ...greedy, messages, max_tokens: 50 };
    await clientOf(secret).chat.completions.create(chat);
    // What runs no tokens is counted apart.
    const { status, code, headers } = await failureOf(clientOf(secret).chat.completions.create(chat));
    for (let i = 0; i < 2; i++) expect((await clientOf(secret).models.list()).data).toHaveLength(1);
    expect(await failureOf(clientOf(secret).models.list())).toMatchObject({ status: 429 });
    expect({ status, code }).toEqual({ status: 429, code: "rate_limit_exceeded" });
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    expect(headers.get("x-should-retry")).toBeNull();
  });

  it("of which one reply may be in the making, a second one waits its turn by the client's own retries", async () => {
    const { secret } = await newKey({ limits: { concurrency: 1 } });
    const endless = { ...greedy, messages, max_tokens: 1_500, logit_bias: { 1: -100, 5: -100 } };
    const both = [0, 1].map(() => clientOf(secret, 5).chat.completions.create(endless as never));
    expect((await Promise.all(both)).length).toBe(2);
  });

  it("runs no more tokens than it may, though most of what is read was put there before", async () => {
    while (Date.now() % 60_000 > 50_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    const { tenant, secret } = await newKey({ limits: { tokens_per_minute: 500 } });
    const client = clientOf(secret);
    const long = { role: "user" as const, content: "a fox and a hen ".repeat(3_000) };
    const { id } = await client.conversations.create({ items: [long] });
    const request = { ...greedy, conversation: id, input: "Hi.", max_output_tokens: 16 };
    expect(await failureOf(client.responses.create(request))).toMatchObject({ status: 400 });
    const events = await client.responses.create({ ...request, stream: true });
    let last: unknown;
    for await (const event of events) last = event;
    expect(last).toMatchObject({ type: "response.failed", response: { status: "failed", usage: null } });
    expect((await admin.usage(tenant)).data).toEqual([]);
    const { data } = await client.conversations.items.list(id, { order: "asc" });
    expect(data[0]).toMatchObject({ role: "user" });
    // What is left of the minute is still there.
    const chat = { ...greedy, messages, max_tokens: 100 };
    expect((await client.chat.completions.create(chat)).choices).toHaveLength(1);
  });

  it("is told when to come back where what is to be read does not fit into what is left of the minute", async () => {
    while (Date.now() % 60_000 > 50_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    const { secret } = await newKey({ limits: { tokens_per_minute: 20_000 } });
    const client = clientOf(secret);
    const long = { role: "user" as const, content: "a fox and a hen ".repeat(1_000) };
    const { id } = await client.conversations.create({ items: [long] });
    const endless = {
      ...greedy,
      messages,
      max_tokens: 18_000,
      logit_bias: { 1: -100, 5: -100 },
      stream: true as const,
    };
    const held = await client.chat.completions.create(endless);
    const request = { ...greedy, conversation: id, input: "Hi.", max_output_tokens: 16 };
    const { status, code, headers } = await failureOf(client.responses.create(request));
    expect({ status, code }).toEqual({ status: 429, code: "rate_limit_exceeded" });
    expect(Number(headers.get("retry-after-ms"))).toBeGreaterThan(0);
    expect(Number(headers.get("retry-after-ms"))).toBeLessThanOrEqual(60_000);
    held.controller.abort();
    await expect
      .poll(async () => (await client.responses.create(request).catch(() => null))?.status, { timeout: 10_000 })
      .toMatch(/completed|incomplete/);
  });

  it("pays for what came of a prompt whose tokens were told, though nobody waited for its end", async () => {
    const { tenant, secret } = await newKey();
    const prompt = "a fox and a hen ".repeat(3_000);
    const scored = { model: "pocket", prompt, max_tokens: 0, echo: true, logprobs: 1, stream: true as const };
    const stream = await clientOf(secret).completions.create(scored);
    let chunks = 0;
    for await (const _ of stream) if (++chunks === 20) break;
    const promptTokens = async () => (await admin.usage(tenant)).data as { prompt_tokens: number }[];
    await expect.poll(promptTokens, { timeout: 5_000 }).toHaveLength(1);
    const [row] = await promptTokens();
    expect(row?.prompt_tokens).toBeGreaterThan(100);
    expect(row?.prompt_tokens).toBeLessThan(12_000);
  });

  it("pays for what came of a completion that nobody read to its end", async () => {
    const { tenant, secret } = await newKey();
    const endless = { model: "pocket", prompt: "The fox", max_tokens: 4_000, stream: true as const };
    const stream = await clientOf(secret).completions.create({ ...endless, logit_bias: { 1: -100, 5: -100 } });
    let chunks = 0;
    for await (const _ of stream) if (++chunks === 50) break;
    await expect
      .poll(async () => (await admin.usage(tenant)).data as { completion_tokens: number }[], { timeout: 5_000 })
      .toHaveLength(1);
    const [row] = (await admin.usage(tenant)).data as { completion_tokens: number }[];
    expect(row?.completion_tokens).toBeGreaterThanOrEqual(50);
    expect(row?.completion_tokens).toBeLessThan(4_000);
  });

  it("gets back what a request that failed would have taken", async () => {
    const { secret } = await newKey({ limits: { concurrency: 1 } });
    const client = clientOf(secret);
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await failureOf(client.chat.completions.create({ ...greedy, messages: [] }))).toMatchObject({
        status: 400,
      });
      const previous_response_id = `resp_${"a".repeat(32)}_1`;
      const unknown = client.responses.create({ ...greedy, input: "Hi.", previous_response_id });
      expect(await failureOf(unknown)).toMatchObject({ status: 404 });
    }
    expect((await client.chat.completions.create({ ...greedy, messages })).choices).toHaveLength(1);
  });
});

describe("keys that KEY_SECRET seals", () => {
  it("outlive a change of the administrators' key, those that ADMIN_KEY sealed go on under it, and end with another", async () => {
    const first = await startServer({ environment: { ADMIN_KEY: "administrators" } });
    const { dataDir } = first;
    const under = async (environment: Record<string, string>, secret: string) => {
      const other = await startServer({ dataDir, environment });
      const answer = await fetch(`${other.url}/v1/models`, { headers: { authorization: `Bearer ${secret}` } });
      await other.kill("SIGKILL");
      return answer.status;
    };
    try {
      const owner = administrator(first.url, "administrators");
      const { secret } = await owner.createKey((await owner.createTenant("t")).id, { name: "k" });
      await first.kill("SIGKILL");
      expect(await under({ ADMIN_KEY: "others" }, secret)).toBe(401);
      expect(await under({ ADMIN_KEY: "others", KEY_SECRET: "administrators" }, secret)).toBe(200);
      expect(await under({ ADMIN_KEY: "administrators", KEY_SECRET: "another" }, secret)).toBe(401);
      expect(await under({ ACCESS: "keys" }, secret)).toBe(401);
    } finally {
      await first.stop();
    }
  });
});
