// Lines of batches as requests: whose they are, and what of an answer is only for now.
import { Hono } from "hono";
import { expect, it } from "vitest";
import type { BatchEnv } from "../../src/batch/env.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { GriffinError } from "../../src/errors.ts";
import { runLine } from "../../src/http/batch-lines.ts";
import { callerOf } from "../../src/http/caller.ts";
import type { AppEnv } from "../../src/http/context.ts";
import { errorResponse } from "../../src/http/errors.ts";
import { repeatOf, type Repeat } from "../../src/http/repeat.ts";

const call = { url: "/v1/completions", body: "{}", tenant: "ours", key: 3, name: "line 1" };
const run = (answer: () => Response) => {
  const app = new Hono<AppEnv>().post("/v1/completions", ({ env }) =>
    callerOf(env)?.tenant === "ours" ? answer() : Response.json({}, { status: 418 }),
  );
  const context = { waitUntil: () => undefined, passThroughOnException: () => undefined, props: {} };
  return runLine(app, { ...call, signal: new AbortController().signal }, {} as BatchEnv, context);
};

it.each<[ErrorCode, { isPassing: boolean; retryAfterMs: number | null }]>([
  ["origin_away", { isPassing: true, retryAfterMs: 5_000 }],
  // Counted: four times, and the line has failed.
  ["origin_failed", { isPassing: true, retryAfterMs: null }],
  ["overloaded", { isPassing: true, retryAfterMs: null }],
  ["invalid_argument", { isPassing: false, retryAfterMs: null }],
])("a line that is answered with %s", async (code, expected) => {
  expect(await run(() => errorResponse(new GriffinError(code, "…")))).toMatchObject(expected);
});

it("a line that is run again is the same request, and no other is", async () => {
  const named = async (name: string) => {
    const app = new Hono<AppEnv>().post("/v1/responses", async (context) =>
      context.json(await repeatOf(context, "{}", true)),
    );
    const context = { waitUntil: () => undefined, passThroughOnException: () => undefined, props: {} };
    const { signal } = new AbortController();
    return (await runLine(app, { ...call, url: "/v1/responses", name, signal }, {} as BatchEnv, context)).body;
  };
  expect(await named("line 1")).toEqual(await named("line 1"));
  const [one, other] = [await named("line 1"), await named("line 2")] as Repeat[] as [Repeat, Repeat];
  expect(one).toMatchObject({ isNamed: true, repeatWithinMs: 24 * 3_600_000 });
  expect(new Set([one.repeatKey, one.newObject, other.repeatKey, other.newObject]).size).toBe(4);
});

it("a line that is answered is over", async () => {
  const reply = await run(() => Response.json({ id: "a" }));
  expect(reply).toMatchObject({ status: 200, body: { id: "a" }, isPassing: false, retryAfterMs: null });
});
