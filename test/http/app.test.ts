// What the app answers by itself, before any object is asked.
import { describe, expect, it } from "vitest";
import type { Env } from "../../src/conversation/env.ts";
import { createApp } from "../../src/http/app.ts";
import { bodyLimitBytes } from "../../src/http/read-body.ts";
import { objectName } from "./turns.ts";

const lines: Record<string, unknown>[] = [];
const app = createApp({ modelIds: () => ["pocket", "other"], log: (line) => lines.push(JSON.parse(line)) });
/** Nothing here reaches a binding; whatever did would fail. */
const env = { ACCESS: "open" } as Env;

const ask = async (path: string, init?: RequestInit) => app.request(path, init, env);
const post = (path: string, body: BodyInit, headers: Record<string, string> = {}) =>
  ask(path, { method: "POST", body, headers, duplex: "half" } as RequestInit);

async function errorOf(answer: Response | Promise<Response>) {
  const response = await answer;
  const { error } = (await response.json()) as { error: Record<string, unknown> };
  expect(Object.keys(error)).toEqual(["message", "type", "param", "code"]);
  expect(response.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
  expect(response.headers.get("content-type")).toMatch(/^application\/json/);
  return { status: response.status, code: error["code"], param: error["param"] };
}

describe("the app", () => {
  it("says that it is well, and which models it has", async () => {
    expect(await (await ask("/health")).json()).toEqual({ status: "ok" });
    const { data } = (await (await ask("/v1/models")).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(["pocket", "other"]);
    expect(await (await ask("/v1/models/other")).json()).toMatchObject({ id: "other", object: "model" });
    expect(await errorOf(ask("/v1/models/a/b"))).toEqual({ status: 404, code: "model_not_found", param: "model" });
  });

  it("answers HEAD as GET without a body", async () => {
    const response = await ask("/v1/models", { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch(/json/);
    expect(await response.text()).toBe("");
  });

  it("answers 404 on unknown routes and 405 on unknown methods, saying what there is", async () => {
    expect(await errorOf(ask("/v1/nothing"))).toEqual({ status: 404, code: "not_found", param: null });
    expect(await errorOf(post("/nothing", "{}"))).toEqual({ status: 404, code: "not_found", param: null });
    expect(await errorOf(ask("/v1/chat/completions"))).toEqual({
      status: 405,
      code: "method_not_allowed",
      param: null,
    });
    expect(await errorOf(ask("/v1/models", { method: "DELETE" }))).toMatchObject({ status: 405 });
    const { headers } = await ask(`/v1/conversations/conv_${objectName}_0`, { method: "PUT" });
    expect(headers.get("allow")).toBe("GET, HEAD, POST, DELETE, OPTIONS");
    expect((await ask("/health", { method: "OPTIONS" })).headers.get("allow")).toBe("GET, HEAD, OPTIONS");
  });

  it.each([
    ["not JSON", "SECRET {"],
    ["empty", ""],
    ["not an object", "[]"],
  ])("refuses a body that is %s, without repeating it", async (_, body) => {
    const answer = await post("/v1/chat/completions", body);
    const copy = await answer.clone().text();
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: "invalid_argument" });
    expect(copy).not.toContain("SECRET");
  });

  it("refuses a body that is not UTF-8", async () => {
    const body = new Uint8Array(Buffer.from('{"input": "caf\u00e9"}', "latin1"));
    const answer = await post("/v1/responses", body);
    expect(await answer.clone().text()).toContain("UTF-8");
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: "invalid_argument" });
  });

  it.each([
    ["with a length", (text: string): BodyInit => text],
    ["in chunks", (text: string): BodyInit => new Blob([text]).stream()],
  ])("refuses a body that is too large, %s", async (_, bodyOf) => {
    const fits = JSON.stringify({ messages: [], pad: "" });
    const padded = (bytes: number) => bodyOf(fits.replace('""', `"${"x".repeat(bytes - fits.length)}"`));
    expect(await errorOf(post("/v1/chat/completions", padded(bodyLimitBytes)))).toMatchObject({ param: "messages" });
    expect(await errorOf(post("/v1/chat/completions", padded(bodyLimitBytes + 1)))).toEqual({
      status: 413,
      code: "body_too_large",
      param: null,
    });
  });

  it.each([
    ["GET", `/v1/conversations/conv_x_1`],
    ["GET", `/v1/conversations/resp_${objectName}_1/items`],
    ["POST", `/v1/conversations/nothing/fork`],
    ["DELETE", `/v1/conversations/conv_${objectName}_-1`],
    ["GET", `/v1/responses/chatcmpl_${objectName}_1`],
    ["POST", `/v1/responses/conv_${objectName}_1/cancel`],
    ["DELETE", `/v1/responses/${"x".repeat(3000)}`],
  ])("knows no id that cannot be one: %s %s", async (method, path) => {
    expect(await errorOf(ask(path, { method }))).toEqual({ status: 404, code: "not_found", param: null });
  });

  it.each([
    [{ previous_response_id: "resp_x" }, "previous_response_not_found", "previous_response_id"],
    [{ conversation: "conv_x" }, "not_found", "conversation"],
    [{ conversation: { id: "conv_x" } }, "not_found", "conversation"],
  ])("knows no place that cannot be one: %j", async (place, code, param) => {
    const answer = post("/v1/responses", JSON.stringify({ input: "Hello", ...place }));
    expect(await errorOf(answer)).toEqual({ status: 404, code, param });
  });

  it.each([
    ["items?limit=0", "limit"],
    ["items?limit=101", "limit"],
    ["items?order=up", "order"],
    ["items?limit=0x3", "limit"],
    ["items?limit=", "limit"],
  ])("refuses a list of %s by name", async (query, param) => {
    const answer = ask(`/v1/conversations/conv_${objectName}_0/${query}`);
    expect(await errorOf(answer)).toEqual({ status: 400, code: "invalid_argument", param });
  });

  it.each(["-1", "", "0x3", "1e3", " 2", "x"])("refuses to start a stream after %j", async (after) => {
    const answer = ask(`/v1/responses/resp_${objectName}_1?stream=true&starting_after=${encodeURIComponent(after)}`);
    expect(await errorOf(answer)).toEqual({ status: 400, code: "invalid_argument", param: "starting_after" });
  });

  it("says nothing in an error that somebody wrote as the name of a key", async () => {
    for (const change of [{ metadata: { ["SECRET".repeat(100_000)]: "x" } }, { logit_bias: { SECRET: 1 } }]) {
      const answer = await post("/v1/responses", JSON.stringify({ input: "Hello", ...change }));
      expect(answer.status).toBe(400);
      const text = await answer.text();
      expect(text).not.toContain("SECRET");
      expect(JSON.parse(text)).toMatchObject({ error: { param: Object.keys(change)[0] } });
    }
  });

  it("names the field of a reply that would be too long", async () => {
    const body = JSON.stringify({ input: "Hello", max_output_tokens: 65_537 });
    const param = "max_output_tokens";
    expect(await errorOf(post("/v1/responses", body))).toEqual({ status: 400, code: "invalid_argument", param });
  });

  it("refuses items that are no messages, too many, or none, and a model that is not there", async () => {
    const message = { role: "user", content: "SECRET" };
    const lists: [unknown[], object][] = [
      [[{}], { code: "invalid_argument", param: "items[0].role" }],
      [[message, { type: "reasoning" }], { code: "unsupported", param: "items[1].type" }],
      [Array.from({ length: 21 }, () => message), { code: "invalid_argument", param: "items" }],
    ];
    for (const [items, fault] of lists) {
      const body = JSON.stringify({ items });
      expect(await errorOf(post("/v1/conversations", body))).toMatchObject(fault);
      expect(await errorOf(post(`/v1/conversations/conv_${objectName}_0/items`, body))).toMatchObject(fault);
    }
    expect(await errorOf(post(`/v1/conversations/conv_${objectName}_0/items`, '{"items": []}'))).toMatchObject({
      code: "invalid_argument",
      param: "items",
    });
    const body = JSON.stringify({ model: "gpt", messages: [{ role: "user", content: "" }] });
    expect(await errorOf(post("/v1/chat/completions", body))).toEqual({
      status: 404,
      code: "model_not_found",
      param: "model",
    });
  });

  it("refuses an Idempotency-Key that is too long", async () => {
    const body = JSON.stringify({ input: "Hello" });
    const answer = post("/v1/responses", body, { "idempotency-key": "k".repeat(256) });
    expect(await errorOf(answer)).toEqual({ status: 400, code: "invalid_argument", param: "idempotency-key" });
  });

  it("answers pages of any origin, without credentials, errors too", async () => {
    const preflight = await ask("/v1/responses", {
      method: "OPTIONS",
      headers: {
        origin: "https://example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-lang",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("x-stainless-lang");
    for (const response of [preflight, await ask("/v1/models"), await post("/v1/responses", "{"), await ask("/v1/x")]) {
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      expect(response.headers.get("access-control-allow-credentials")).toBeNull();
      expect(response.headers.get("access-control-expose-headers")).toContain("x-request-id");
    }
  });

  it("logs one line for each request, with nothing of what was sent", async () => {
    lines.length = 0;
    const response = await post("/v1/conversations/SECRET/fork?SECRET", "SECRET", { "x-request-id": "SECRET" });
    expect(lines).toEqual([
      {
        event: "request",
        request: response.headers.get("x-request-id"),
        method: "POST",
        route: "/v1/conversations/:id/fork",
        status: 404,
        error_code: "not_found",
        ms: expect.any(Number),
      },
    ]);
  });

  it("fails without a word of the cause when something is broken", async () => {
    lines.length = 0;
    const answer = ask(`/v1/responses/resp_${objectName}_1`);
    expect(await errorOf(answer)).toEqual({ status: 500, code: "internal", param: null });
    expect(lines[0]).toMatchObject({ error_code: "internal", error_name: "TypeError", status: 500 });
  });

  it("says what is kept, who runs it and who looks, whatever they are called", async () => {
    const page = async (variables: object) => (await app.request("/transparency", undefined, variables)).text();
    const plain = await page({});
    expect(plain).toContain("<li>pocket</li>");
    expect(plain).toContain("no other service sees what is said");
    expect(plain).toContain("24 hours");
    expect(plain).toContain("30 days after they were last used");
    expect(await page({ RETENTION_DAYS: "7" })).toContain("7 days after");
    expect(await page({ RETENTION_DAYS: "0" })).toContain("until you delete them<");
    const set = await page({ OPERATOR: "<b>Ada</b> & Co", MODERATION: '{"output": false}' });
    expect(set).toContain("run by &lt;b&gt;Ada&lt;/b&gt; &amp; Co");
    expect(set).toContain("A moderation service sees messages before");
  });
});
