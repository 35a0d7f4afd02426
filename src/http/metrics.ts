// GET /metrics: what this isolate did, for Prometheus; and the counting of requests.
import { Hono } from "hono";
import { counter, histogram, metricsText } from "../conversation/metrics.ts";
import type { AppEnv } from "./context.ts";

const requests = counter("griffin_requests_total", "Requests, by route and status.");
const seconds = histogram(
  "griffin_request_seconds",
  "From a request to the beginning of its answer.",
  [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
);

/** Counts a request whose answer begins. `route` is the pattern, not the path, so that nobody's id becomes a label. */
export function countRequest(method: string, route: string, status: number, ms: number): void {
  requests({ method, route, status: String(status) });
  seconds({ route }, ms / 1000);
}

export const metrics = new Hono<AppEnv>().get("/metrics", (context) =>
  context.body(metricsText(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
);
