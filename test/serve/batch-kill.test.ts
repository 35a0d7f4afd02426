// A batch of 500 lines, 5 of them malformed, and the whole server killed twice on the way, the queue's messages with it:
// every line has exactly one result.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import OpenAI from "openai";
import { startDevServer, type DevServer } from "../dev-server.ts";
import { startReceiver, type Receiver } from "./receiver.ts";

const lineCount = 500;
const malformed = new Map([
  [17, "not json"],
  [120, "[]"],
  [200, JSON.stringify({ custom_id: "r200", method: "POST", url: "/v1/embeddings", body: {} })],
  [333, JSON.stringify({ custom_id: "r332", method: "POST", url: "/v1/chat/completions", body: {} })],
  [499, JSON.stringify({ method: "POST", url: "/v1/chat/completions", body: {} })],
]);

const lines = Array.from({ length: lineCount }, (_, i) => {
  const body = {
    model: "pocket",
    temperature: 0,
    max_tokens: 12,
    messages: [{ role: "user", content: `I am Ada${i}.` }],
  };
  return malformed.get(i) ?? JSON.stringify({ custom_id: `r${i}`, method: "POST", url: "/v1/chat/completions", body });
});

interface Outcome {
  custom_id: string | null;
  response: { body: { id: string } } | null;
  error: { line: number } | null;
}

interface BatchBody {
  id: string;
  status: string;
  output_file_id: string;
  error_file_id: string;
  request_counts: { total: number; completed: number; failed: number };
}

describe(`a batch of ${lineCount} lines`, () => {
  let server: DevServer;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await startReceiver();
    server = await startDevServer({ WEBHOOKS_DEVELOPMENT: "1" });
  }, 90_000);
  afterAll(async () => {
    await server.stop();
    receiver.stop();
  });

  const ask = async <T>(path: string, init?: RequestInit): Promise<T> => {
    const answer = await fetch(`${server.url}/v1${path}`, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const post = <T>(path: string, body: object) =>
    ask<T>(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  const outcomesIn = async (file: string) => {
    const text = await (await fetch(`${server.url}/v1/files/${file}/content`)).text();
    const read = text.trimEnd().split("\n");
    return read.map((line) => JSON.parse(line) as Outcome);
  };

  it("has 495 results and 5 errors, once each, though the server is killed twice, and its end is told", async () => {
    const { signing_secret: secret } = await post<{ signing_secret: string }>("/webhook_endpoints", {
      name: "ends",
      url: `${receiver.url}/ends`,
      event_types: ["batch.completed", "response.completed"],
    });
    const form = new FormData();
    form.set("purpose", "batch");
    form.set("file", new Blob([lines.join("\n")]), "in.jsonl");
    const { id: input_file_id } = await ask<{ id: string }>("/files", { method: "POST", body: form });
    const request = { input_file_id, endpoint: "/v1/chat/completions", completion_window: "24h" };
    const { id } = await post<BatchBody>("/batches", request);

    const killedAt: number[] = [];
    for (let batch = await ask<BatchBody>(`/batches/${id}`); batch.status !== "completed";) {
      const { completed } = batch.request_counts;
      if (completed >= [80, 260, Infinity][killedAt.length]!) {
        killedAt.push(completed);
        await server.kill();
        await server.start();
      }
      await sleep(100);
      batch = await ask<BatchBody>(`/batches/${id}`);
      expect(["validating", "in_progress", "finalizing", "completed"]).toContain(batch.status);
      // What was kept before a kill is there after it.
      expect(batch.request_counts.completed).toBeGreaterThanOrEqual(killedAt.at(-1) ?? 0);
    }

    expect(killedAt).toHaveLength(2);
    expect(killedAt[1]).toBeLessThan(495);
    const done = await ask<BatchBody>(`/batches/${id}`);
    expect(done.request_counts).toEqual({ total: 500, completed: 495, failed: 5 });
    const outcomes = await outcomesIn(done.output_file_id);
    const answered = outcomes.map(({ custom_id: each }) => each);
    const expected = lines.flatMap((_, i) => (malformed.has(i) ? [] : [`r${i}`]));
    expect(answered.toSorted()).toEqual(expected.toSorted());
    // What ran when the server was killed went on as the same turn: each chat has one.
    expect(outcomes.filter(({ response }) => !response?.body.id.endsWith("_1"))).toEqual([]);
    const errors = (await outcomesIn(done.error_file_id)).map(({ error }) => error?.line);
    expect(errors).toEqual([...malformed.keys()].map((i) => i + 1));

    await expect.poll(() => receiver.received.length, { timeout: 5_000 }).toBeGreaterThan(0);
    const client = new OpenAI({ apiKey: "none", webhookSecret: secret });
    for (const { body, headers } of receiver.at("/ends")) {
      expect(await client.webhooks.unwrap(body, headers)).toMatchObject({
        id: `evt_${id}`,
        type: "batch.completed",
        data: { id },
      });
    }
  }, 90_000);
});
