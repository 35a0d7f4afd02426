import { Hono } from "hono";
import { expect, it } from "vitest";
import type { BatchEnv } from "../../src/batch/env.ts";
import { withCaller } from "../../src/http/caller.ts";
import type { AppEnv } from "../../src/http/context.ts";
import { errorResponse } from "../../src/http/errors.ts";
import { patientJson } from "../../src/http/live-body.ts";
import { createRequestLog } from "../../src/http/request-log.ts";
import { GriffinError } from "../../src/errors.ts";

const busy = () => new GriffinError("conversation_busy", "Not now.");

/** Asks an app whose one answer comes, or fails, after so long; it begins after 20 ms. */
async function ask(answer: () => object, delayMs: number, env = {}): Promise<{ response: Response; lines: string[] }> {
  const lines: string[] = [];
  const app = new Hono<AppEnv>();
  app.onError((error) => errorResponse(error));
  app.get("/", (context) => {
    context.set(
      "log",
      createRequestLog((line) => lines.push(line)),
    );
    const late = new Promise((resolve) => void setTimeout(resolve, delayMs)).then(answer);
    return patientJson(context, late, () => undefined, 20);
  });
  return { response: await app.request("/", {}, env), lines };
}

it("an answer that comes soon is plain JSON, and a failure has its status", async () => {
  const { response } = await ask(() => ({ a: 1 }), 0);
  expect(await response.text()).toBe('{"a":1}');
  const failed = (
    await ask(() => {
      throw busy();
    }, 0)
  ).response;
  expect(failed.status).toBe(409);
  expect(await failed.json()).toMatchObject({ error: { code: "conversation_busy" } });
});

it("an answer that takes longer begins with what a parser skips", async () => {
  const { response } = await ask(() => ({ a: 1 }), 60);
  expect(response.headers.get("content-type")).toBe("application/json");
  const text = await response.text();
  expect(text).toMatch(/^ +\{/);
  expect(JSON.parse(text)).toEqual({ a: 1 });
});

it("an answer that fails after it began is broken off, and the log says why", async () => {
  const { response, lines } = await ask(() => {
    throw busy();
  }, 60);
  expect(response.status).toBe(200);
  await expect(response.text()).rejects.toThrow("Not now.");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { event: "request_broke_off", error_code: "conversation_busy" },
  ]);
});

it("a request of the server's own waits for the status, however long", async () => {
  const own = withCaller({} as BatchEnv, { tenant: "", key: null, request: "" });
  const { response } = await ask(() => ({ a: 1 }), 60, own);
  expect(await response.text()).toBe('{"a":1}');
  const fails = () => {
    throw busy();
  };
  expect((await ask(fails, 60, own)).response.status).toBe(409);
});
