// One attempt to tell an event: a signed POST, of whose answer nothing but the status counts.
import { addressFault } from "./addresses.ts";
import { isDevelopment, type OutboxEnv } from "./env.ts";
import type { Attempt, Target } from "./protocol.ts";
import { waitOf } from "./schedule.ts";
import { signedHeaders } from "./signing.ts";

/** A receiver has so long to answer. */
export const timeoutMs = 20_000;

/** What came of an attempt; `waitMs`: so long the receiver asks to wait before the next one. */
export interface Outcome {
  attempt: Attempt;
  waitMs: number | null;
}

type Fetching = Pick<OutboxEnv, "WEBHOOKS_DEVELOPMENT" | "NEIGHBOURS">;

/** Never throws. */
export async function tell(
  { url, secrets }: Pick<Target, "url" | "secrets">,
  event: { id: string; body: string },
  env: Fetching,
): Promise<Outcome> {
  const atMs = Date.now();
  const ended = (status: number | null, error: Attempt["error"], waitMs: number | null = null): Outcome => ({
    attempt: { atMs, durationMs: Date.now() - atMs, status, error },
    waitMs,
  });
  if (addressFault(url, isDevelopment(env)) !== null) return ended(null, "address_refused");
  try {
    const answer = await post(
      url,
      {
        method: "POST",
        headers: {
          ...signedHeaders(secrets, event, atMs),
          "content-type": "application/json",
          "user-agent": "Griffin-Edge-Webhooks/1",
        },
        body: event.body,
        // Whoever is sent on to would not have been checked.
        redirect: "manual",
        signal: AbortSignal.timeout(timeoutMs),
      },
      env,
    );
    void answer.body?.cancel().catch(() => undefined);
    return ended(answer.status, null, waitOf(answer.headers.get("retry-after"), Date.now()));
  } catch (error) {
    return ended(null, error instanceof Error && error.name === "TimeoutError" ? "timeout" : "connection_failed");
  }
}

/** Whether the receiver took it. */
export const isTaken = ({ status }: Attempt): boolean => status !== null && status >= 200 && status < 300;

function post(url: string, init: RequestInit, env: Fetching): Promise<Response> {
  const { NEIGHBOURS: neighbours } = env;
  return isDevelopment(env) && neighbours !== undefined ? neighbours.fetch(url, init) : fetch(url, init);
}
