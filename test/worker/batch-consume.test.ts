// The consumer of the queue, in real workerd and with real batches: what it makes of every kind of answer.
import { env } from "cloudflare:test";
import { describe, expect, it, vi } from "vitest";
import type { StoredBatch } from "../../src/batch/batch-store.ts";
import { consume, type LineCall, type LineReply } from "../../src/batch/consume.ts";
import { mostStrikes } from "../../src/batch/protocol.ts";
import { batchOf, begin, change, inBatch, lineOf, linesIn, wake } from "./batches.ts";

const answered: LineReply = {
  status: 200,
  requestId: "req_1",
  body: { ok: true },
  isPassing: false,
  retryAfterMs: null,
};
const view = (name: string) => batchOf(name).view();
const until = async (name: string, status: string) =>
  await expect.poll(async () => (await view(name)).status, { timeout: 20_000 }).toBe(status);

/** A batch whose queue the test plays. */
async function byHand(what: string, count: number) {
  const lines = Array.from({ length: count }, (_, i) => lineOf(`r${i}`, { prompt: String(i) }));
  const { name } = await begin(`by hand/${what}`, lines);
  await until(name, "in_progress");
  const deliver = async (stretch: number, run: (call: LineCall) => Promise<LineReply>, queue = "batches") => {
    const message = { body: { batch: name, stretch }, ack: vi.fn<() => void>(), retry: vi.fn<() => void>() };
    await consume({ queue, messages: [message] }, env, run);
    return message.ack.mock.calls.length > 0 ? "ack" : "retry";
  };
  return { name, deliver };
}
const promptOf = ({ body }: LineCall) => (JSON.parse(body) as { prompt: string }).prompt;
const strikesIn = (name: string) => inBatch(name, ({ sql }) => sql.exec("SELECT * FROM strikes").toArray());

describe("the consumer", () => {
  it("runs each line once, under its own name, four at a time", async () => {
    const { name, deliver } = await byHand("plain", 8);
    const names = new Set<string>();
    let running = 0;
    let most = 0;
    const run = async (call: LineCall) => {
      most = Math.max(most, ++running);
      names.add(call.name);
      expect(call).toMatchObject({ url: "/v1/completions", tenant: "", key: null });
      await new Promise((resolve) => void setTimeout(resolve, 5));
      running--;
      return answered;
    };
    expect(await deliver(0, run)).toBe("ack");
    expect(await deliver(0, () => Promise.reject(new Error("it is done")))).toBe("ack");
    expect([names.size, most]).toEqual([8, 4]);
    await until(name, "completed");
    const [first] = await linesIn(`registry of ${name}`, (await view(name)).outputFile);
    expect(first).toMatchObject({
      custom_id: "r0",
      response: { status_code: 200, request_id: "req_1", body: { ok: true } },
    });
  });

  it("puts refusals among the errors, and asks again for what fails in passing, but not for ever", async () => {
    const { name, deliver } = await byHand("failing", 2);
    let asked = 0;
    const run = async (call: LineCall): Promise<LineReply> => {
      if (promptOf(call) === "0") return { ...answered, status: 404 };
      asked++;
      return { ...answered, status: 503, isPassing: true };
    };
    for (let attempt = 0; attempt < mostStrikes; attempt++) {
      expect(await deliver(0, run)).toBe("ack");
      await wake(name);
    }
    expect(asked).toBe(mostStrikes);
    await until(name, "completed");
    const errors = await linesIn(`registry of ${name}`, (await view(name)).errorFile);
    expect(errors.map(({ response }) => response!["status_code"])).toEqual([404, 503]);
  });

  it("gives up a line whose request never ends well, and says so", async () => {
    const { name, deliver } = await byHand("throwing", 1);
    for (let attempt = 0; attempt < mostStrikes; attempt++) {
      await deliver(0, () => Promise.reject(new Error("secret")));
      await wake(name);
    }
    await until(name, "completed");
    const [error] = await linesIn(`registry of ${name}`, (await view(name)).errorFile);
    expect(error).toMatchObject({ custom_id: "r0", response: null, error: { code: "internal" } });
    expect(JSON.stringify(error)).not.toContain("secret");
  });

  it.each([
    ["limited", { status: 429, isPassing: true, retryAfterMs: 60_000 }],
    ["busy", { status: 409, isPassing: true, retryAfterMs: null }],
  ])("stops at once where a line is %s, and no line is blamed", async (what, reply) => {
    const { name, deliver } = await byHand(what, 8);
    let asked = 0;
    const run = async (): Promise<LineReply> => (++asked > 2 ? { ...answered, ...reply } : answered);
    expect(await deliver(0, run)).toBe("ack");
    expect(asked).toBeLessThanOrEqual(2 + 4);
    expect((await view(name)).counts).toEqual({ total: 8, completed: 2, failed: 0 });
    // Nothing of the batch runs until then.
    await deliver(0, () => Promise.reject(new Error("too soon")));
    expect((await view(name)).counts.completed).toBe(2);
    for (let attempt = 0; attempt < 5; attempt++) {
      await wake(name);
      await deliver(0, async () => ({ ...answered, ...reply }));
    }
    await wake(name);
    await deliver(0, async () => answered);
    await until(name, "completed");
    expect((await view(name)).counts).toEqual({ total: 8, completed: 8, failed: 0 });
  });

  it("says that a line took too long, whatever it was answered then", async () => {
    const { name, deliver } = await byHand("too long", 1);
    const timeout = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => AbortSignal.abort());
    for (let attempt = 0; attempt < mostStrikes; attempt++) {
      await deliver(0, async () => ({ ...answered, status: 500, isPassing: true }));
      await wake(name);
    }
    timeout.mockRestore();
    await until(name, "completed");
    const [error] = await linesIn(`registry of ${name}`, (await view(name)).errorFile);
    expect(error).toMatchObject({ response: null, error: { code: "timeout" } });
  });

  it("has sent again what the queue could not deliver, and takes it from nobody", async () => {
    const { name, deliver } = await byHand("undelivered", 3);
    const never = () => Promise.reject(new Error("not to be run"));
    const run = async () => {
      expect(await deliver(0, never, "batches-dead")).toBe("ack");
      return answered;
    };
    expect(await deliver(0, never, "batches-dead")).toBe("ack");
    expect(await strikesIn(name)).toEqual([]);
    expect(await deliver(0, run)).toBe("ack");
    await until(name, "completed");
    expect((await view(name)).counts).toEqual({ total: 3, completed: 3, failed: 0 });
  });

  it("waits where the input cannot be read, and no line is blamed", async () => {
    const { name, deliver } = await byHand("unreadable", 1);
    const { inputKey } = await inBatch(name, ({ kv }) => kv.get<StoredBatch>("batch")!);
    await change(name, { inputKey: "nowhere" });
    for (let attempt = 0; attempt <= mostStrikes; attempt++) {
      expect(await deliver(0, () => Promise.reject(new Error("not to be run")))).toBe("ack");
      expect(await strikesIn(name)).toMatchObject([{ line: 0, count: 0 }]);
      await wake(name);
    }
    await change(name, { inputKey });
    expect(await deliver(0, async () => answered)).toBe("ack");
    await until(name, "completed");
    expect((await view(name)).counts).toEqual({ total: 1, completed: 1, failed: 0 });
  });

  it("begins no more stretches of a batch that is cancelled, and keeps what runs", async () => {
    const { name, deliver } = await byHand("stopping", 16);
    let asked = 0;
    const run = async () => {
      if (++asked === 1) await batchOf(name).cancel();
      return answered;
    };
    expect(await deliver(0, run)).toBe("ack");
    expect(await deliver(1, run)).toBe("ack");
    await until(name, "cancelled");
    expect(asked).toBeLessThanOrEqual(8);
    expect((await view(name)).counts).toEqual({ total: 16, completed: asked, failed: 0 });
  });
});
