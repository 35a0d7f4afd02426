// What a request may run at most, as told before it is looked at.
import { Hono } from "hono";
import { describe, expect, it, vi } from "vitest";
import { z } from "zod";
import type { AppEnv } from "../../src/http/context.ts";
import { mostTokensOf } from "../../src/http/most-tokens.ts";
import { readBody } from "../../src/http/read-body.ts";

const app = new Hono<AppEnv>().all("*", async (context) => context.json({ most: await mostTokensOf(context) }));

async function mostOf(path: string, body: object, method = "POST"): Promise<number | null> {
  const text = JSON.stringify(body);
  const answer = await app.request(path, { method, ...(method === "POST" && { body: text }) });
  const { most } = (await answer.json()) as { most: number | null };
  return most === null ? null : most - text.length;
}

describe("the most tokens of a request", () => {
  it.each([
    ["/v1/responses", { max_output_tokens: 7 }, 7],
    ["/v1/responses", { max_tokens: 0 }, 1024],
    ["/v1/responses", { max_output_tokens: null, max_completion_tokens: 1 }, 1024],
    ["/v1/chat/completions", { max_completion_tokens: 9, max_tokens: 1 }, 9],
    ["/v1/chat/completions", { max_tokens: 5, max_output_tokens: 0 }, 5],
    ["/v1/chat/completions", { max_tokens: -3 }, 1024],
    ["/v1/chat/completions", { max_tokens: "1" }, 1024],
    ["/v1/completions", { prompt: "a" }, 16],
    ["/v1/completions", { prompt: ["a", "b"], n: 3, max_tokens: 10 }, 60],
    ["/v1/completions", { prompt: [1, 2, 3], max_tokens: 0 }, 0],
  ])("of %s with %j are its bytes and %i", async (path, body, reply) => {
    expect(await mostOf(path, body)).toBe(reply);
  });

  it("stay a number that can be stored, whatever is asked for", async () => {
    for (const asked of [1e300, Number.MAX_SAFE_INTEGER, 2 ** 31, 0.5]) {
      const answer = await app.request("/v1/completions", {
        method: "POST",
        body: JSON.stringify({ max_tokens: asked, n: 128, prompt: Array.from({ length: 1000 }, () => "a") }),
      });
      const { most } = (await answer.json()) as { most: number };
      expect(Number.isSafeInteger(most)).toBe(true);
    }
  });

  it("are told from the body as its route reads it: parsed once, whatever is wrong with it", async () => {
    const both = new Hono<AppEnv>()
      .post("*", async (context) => {
        const most = await mostTokensOf(context);
        const { value, text } = await readBody(context.req, z.looseObject({}));
        return context.json({ most, value, text });
      })
      .onError((error, context) => context.text(error.message, 400));
    const post = (body: BodyInit) => both.request("/v1/completions", { method: "POST", body });
    const parse = vi.spyOn(JSON, "parse");
    const answer = await post('{"max_tokens": 3, "prompt": "caf\u00e9"}');
    expect(parse).toHaveBeenCalledTimes(1);
    parse.mockRestore();
    const text = '{"max_tokens": 3, "prompt": "caf\u00e9"}';
    expect(await answer.json()).toEqual({
      most: text.length + 1 + 3,
      value: { max_tokens: 3, prompt: "caf\u00e9" },
      text,
    });
    expect(await (await post("{")).text()).toBe("The body is not valid JSON.");
    expect(await (await post(new Uint8Array([0xff]))).text()).toBe("The body is not UTF-8.");
    expect(await (await post("")).json()).toEqual({ most: 16, value: {}, text: "" });
  });

  it("are none where nothing runs", async () => {
    expect(await mostOf("/v1/responses", {}, "GET")).toBeNull();
    expect(await mostOf("/v1/conversations", {})).toBeNull();
  });
});
