// A batch of 500 lines that runs at a real origin, which is killed on the way: every line has exactly one result.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startDevServer, type DevServer } from "../dev-server.ts";
import { hasOrigin, skipNote, startOrigin, type RealOrigin } from "../origin/real-origin.ts";

const lineCount = 500;
const lines = Array.from({ length: lineCount }, (_, i) => {
  const messages = [{ role: "user", content: `My name is Ada${i}. What is my name?` }];
  // Of the first ones some are long, which nothing but their length ends: the origin is to die in the middle of one.
  const length = i < 120 && i % 8 === 0 ? { max_tokens: 300, logit_bias: { 1: -100, 5: -100 } } : { max_tokens: 12 };
  const body = { model: "pocket", temperature: 0, messages, ...length };
  return JSON.stringify({ custom_id: `r${i}`, method: "POST", url: "/v1/chat/completions", body });
});

interface BatchBody {
  id: string;
  status: string;
  output_file_id: string;
  request_counts: { total: number; completed: number; failed: number };
}

interface Line {
  custom_id: string;
  response: { status_code: number; body: { griffin: { placement: string } } };
}

describe.skipIf(!hasOrigin)(`a batch of ${lineCount} lines at an origin${skipNote}`, () => {
  let origin: RealOrigin;
  let server: DevServer;
  beforeAll(async () => {
    origin = await startOrigin("models/pocket");
    server = await startDevServer({ ORIGIN_URL: origin.url });
  }, 420_000);
  afterAll(async () => {
    await Promise.all([server.stop(), origin.stop()]);
  });

  const ask = async <T>(path: string, init?: RequestInit): Promise<T> => {
    const answer = await fetch(`${server.url}/v1${path}`, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  };

  it("has 500 results, once each, though the origin is killed, and here goes on what it leaves", async () => {
    const form = new FormData();
    form.set("purpose", "batch");
    form.set("file", new Blob([lines.join("\n")]), "in.jsonl");
    const { id: input_file_id } = await ask<{ id: string }>("/files", { method: "POST", body: form });
    const request = { input_file_id, endpoint: "/v1/chat/completions", completion_window: "24h" };
    const headers = { "content-type": "application/json" };
    const { id } = await ask<BatchBody>("/batches", { method: "POST", body: JSON.stringify(request), headers });

    const generated = async () => {
      const said = await (await fetch(`${origin.url}/metrics`)).text();
      return Number(/^griffin_origin_generated_tokens_total (\S+)/m.exec(said)?.[1]);
    };
    const isReplying = async () => {
      const before = await generated();
      await sleep(50);
      return (await generated()) > before;
    };
    let killedAt: number | undefined;
    let batch = await ask<BatchBody>(`/batches/${id}`);
    for (; batch.status !== "completed"; batch = await ask<BatchBody>(`/batches/${id}`)) {
      if (
        killedAt === undefined &&
        batch.request_counts.completed >= 40 &&
        (await isReplying()) &&
        (await isReplying())
      ) {
        killedAt = batch.request_counts.completed;
        await origin.kill();
      }
      await sleep(50);
    }
    expect(killedAt).toBeLessThan(lineCount);
    expect(batch.request_counts).toEqual({ total: lineCount, completed: lineCount, failed: 0 });
    const text = await (await fetch(`${server.url}/v1/files/${batch.output_file_id}/content`)).text();
    const results = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    expect(results.map(({ custom_id }) => custom_id).toSorted()).toEqual(
      Array.from({ length: lineCount }, (_, i) => `r${i}`).toSorted(),
    );
    expect(new Set(results.map(({ response }) => response.status_code))).toEqual(new Set([200]));
    const placements = Map.groupBy(results, ({ response }) => response.body.griffin.placement);
    expect(placements.get("origin")!.length).toBeGreaterThanOrEqual(30);
    expect(placements.get("origin_then_edge")!.length).toBeGreaterThan(0);
    expect(placements.get("edge")!.length).toBeGreaterThan(0);
  }, 150_000);
});
