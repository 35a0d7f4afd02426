// A line of a batch as a request to this app: it goes the way of every request, under the key that the batch was made
// with.
import type { ExecutionContext, Hono } from "hono";
import type { LineCall, LineReply } from "../batch/consume.ts";
import type { BatchEnv } from "../batch/env.ts";
import { withCaller } from "./caller.ts";
import type { AppEnv } from "./context.ts";

/** Where a limit does not say when it is over. */
const limitedMs = 5_000;

/** A limit is reached, or an origin is away: that is not the line's fault. */
function retryAfterMsOf({ status, headers }: Response): number | null {
  const retryAfterMs = headers.get("retry-after-ms");
  if (retryAfterMs !== null) return Number(retryAfterMs);
  return status === 429 ? limitedMs : null;
}

/** Runs a line's request. */
export async function runLine(
  app: Hono<AppEnv>,
  { url, body, tenant, key, name, signal }: LineCall,
  env: BatchEnv,
  context: ExecutionContext,
): Promise<LineReply> {
  const headers = { "content-type": "application/json" };
  const request = new Request(`https://batch.invalid${url}`, { method: "POST", headers, body, signal });
  const response = await app.fetch(request, withCaller(env, { tenant, key, request: name }), context);
  const answer: unknown = await response.json();
  return {
    status: response.status,
    requestId: response.headers.get("x-request-id") ?? "",
    body: answer,
    isPassing: response.status >= 400 && response.headers.get("x-should-retry") !== "false",
    retryAfterMs: retryAfterMsOf(response),
  };
}
