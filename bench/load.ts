// Many requests at once over connections that are kept alive: how many a second, and how long one takes.
import { Agent, request } from "node:http";
import { quantile, type Figure } from "./figure.ts";

/** Requests at once. */
export const connections = 16;

export interface Load {
  name: string;
  path: string;
  /** The body of the n-th request; a GET without one. */
  body?: (n: number) => object;
  /** Sent with every request. */
  headers?: Record<string, string>;
  /** Requests of one run. */
  requests: number;
  runs: number;
}

/** Requests a second, and the median and the 99th percentile of one request's time, one value of each a run. */
export async function measureLoad(url: string, load: Load): Promise<Figure[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const rates: number[] = [];
  const medians: number[] = [];
  const slowest: number[] = [];
  try {
    for (let run = 0; run < load.runs; run++) {
      let next = 0;
      const times: number[] = [];
      const startMs = performance.now();
      await Promise.all(
        Array.from({ length: connections }, async () => {
          while (next < load.requests) {
            const n = next++;
            const askedMs = performance.now();
            await once(agent, url + load.path, load.body?.(run * load.requests + n), load.headers);
            times.push(performance.now() - askedMs);
          }
        }),
      );
      rates.push(load.requests / ((performance.now() - startMs) / 1000));
      medians.push(quantile(times, 0.5));
      slowest.push(quantile(times, 0.99));
    }
  } finally {
    agent.destroy();
  }
  const name = `${load.name}, ${connections} connections`;
  return [
    { name, unit: "requests/s", values: rates },
    { name: `${name}, p50`, unit: "ms", values: medians },
    { name: `${name}, p99`, unit: "ms", values: slowest },
  ];
}

/** One request, read to its end. Fails where it is not answered with 200. */
function once(agent: Agent, url: string, body?: object, given: Record<string, string> = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? given : { ...given, "content-type": "application/json" };
    const asked = request(url, { agent, headers, method: body === undefined ? "GET" : "POST" }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (piece: string) => (text += piece));
      answer.on("end", () =>
        answer.statusCode === 200 ? resolve() : reject(new Error(`${answer.statusCode}: ${text}`)),
      );
    });
    asked.on("error", reject).end(body === undefined ? undefined : JSON.stringify(body));
  });
}
