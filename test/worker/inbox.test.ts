// Hooks in real workerd: what is posted is appended once, whatever dies, and what is refused never.
import { abortAllDurableObjects, env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import { hashedName, randomName } from "../../src/conversation/names.ts";
import { mostAtOnce, mostOpen, mostStrikes, strikeWaitsMs } from "../../src/inbox/hook.ts";
import type { DeliveryView } from "../../src/inbox/protocol.ts";
import { mostHooks } from "../../src/inbox/registry.ts";
import { newSecret } from "../../src/outbox/signing.ts";
import { newHook, weekMs, type TestHook } from "./inbox.ts";
import { receivedAt } from "./receiver.ts";
import { greedy, say } from "./turns.ts";

let h: TestHook;
beforeEach(() => void (h = newHook()));

describe("a post", () => {
  it("is appended once, however often and however close together it comes", async () => {
    await h.create();
    const receipts = await Promise.all(Array.from({ length: 8 }, () => h.post({ key: "a", text: "Hello!" }, "m-1")));
    expect(new Set(receipts.map(({ status }) => status))).toEqual(new Set(["accepted"]));
    const [one] = (await h.ended(1)) as [DeliveryView];
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    // The id is what counts: what else it says the second time is not read.
    await h.post({ key: "a", text: "Something else." }, "m-1");
    expect(await h.statuses()).toEqual(["completed"]);
    expect(await h.said(one)).toEqual(["Hello!"]);
    await expect.poll(() => receivedAt(h.path).length).toBe(1);
  });

  it("that is refused leaves nothing", async () => {
    expect(await h.post({ key: "a", text: "Hello!" }, "m-1")).toEqual({ status: "refused" });
    const rows = await runInDurableObject(h.stub() as never, (_, { storage }) => storage.sql.databaseSize);
    await h.create();
    expect(await h.stub().receive(h.signed({ key: "a", text: "Hello!" }, "m-1", newSecret()))).toEqual({
      status: "refused",
    });
    expect(await h.post({ text: "No key." }, "m-2")).toMatchObject({ status: "malformed" });
    expect(await h.list()).toEqual([]);
    expect(rows).toBeLessThan(20_000);
  });

  it("of one conversation waits for the one before, and for whatever else runs there", async () => {
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    const running = await h
      .conversationOf(first)
      .begin(say("Tell me a story about a fox.", { options: { maxTokens: 400 } }));
    await h.post({ key: "a", text: "Second." }, "m-2");
    await h.post({ key: "a", text: "Third." }, "m-3");
    await h.post({ key: "b", text: "Elsewhere." }, "m-4");
    await expect.poll(async () => (await h.list())[3]?.status, { timeout: 10_000 }).toBe("completed");
    await h.conversationOf(first).cancel(running.turn);
    // The alarm of the wait.
    await expect
      .poll(async () => (await h.ring(), (await h.statuses()).every((status) => status === "completed")), {
        timeout: 20_000,
      })
      .toBe(true);
    expect(await h.said(first)).toEqual(["First.", "Tell me a story about a fox.", "Second.", "Third."]);
    expect((await h.sql("SELECT max(strikes) AS most FROM deliveries"))[0]).toEqual({ most: 0 });
  });

  it("does not overtake one that waits, except in another conversation", async () => {
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    const running = await h.conversationOf(first).begin(say("Tell me a story.", { options: { maxTokens: 400 } }));
    await h.post({ key: "a", text: "Second." }, "m-2");
    await expect.poll(() => h.sql("SELECT id FROM deliveries WHERE due_ms > created_ms")).toHaveLength(1);
    await h.sql("UPDATE deliveries SET due_ms = 9e15 WHERE id = 'm-2'");
    await h.conversationOf(first).cancel(running.turn);
    await h.post({ key: "a", text: "Third." }, "m-3");
    await h.post({ key: "b", text: "Elsewhere." }, "m-4");
    await expect.poll(h.statuses, { timeout: 10_000 }).toEqual(["completed", "queued", "queued", "completed"]);
    await h.sql("UPDATE deliveries SET due_ms = 1 WHERE id = 'm-2'");
    await h.ring();
    await h.ended(4);
    expect(await h.said(first)).toEqual(["First.", "Tell me a story.", "Second.", "Third."]);
  });

  it("goes on with a conversation of its own after the one of its key was deleted", async () => {
    h = newHook({ instructions: "Be kind." });
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    await h.conversationOf(first).removeBranch(0);
    await h.post({ key: "a", text: "Second." }, "m-2");
    await h.ended(2);
    // The tombstone of the first goes after a day.
    await runDurableObjectAlarm(h.conversationOf(first) as never);
    await h.post({ key: "a", text: "Third." }, "m-3");
    const [, second, third] = (await h.ended(3)) as [DeliveryView, DeliveryView, DeliveryView];
    expect(second.conversation).not.toBe(first.conversation);
    expect(third.conversation).toBe(second.conversation);
    expect(await h.said(third)).toEqual(["Second.", "Third."]);
    const { turns } = await h.conversationOf(third).turns(0, { order: "asc", from: undefined, limit: 10 });
    expect(turns[0]).toMatchObject({ kind: "items", messages: [{ role: "developer", content: "Be kind." }] });
  });

  it("is forgotten a week after it was over, but not while its reply is on its way", async () => {
    await h.create();
    for (const id of ["m-1", "m-2", "m-3"]) await h.post({ key: id, text: "Hello!" }, id);
    await h.ended(3);
    await expect.poll(async () => (await h.list()).every(({ reply }) => reply === "handed_over")).toBe(true);
    const ids = async () => (await h.list()).map(({ id }) => id);
    const age = (days: number, id: string) =>
      h.sql("UPDATE deliveries SET finished_ms = ? WHERE id = ?", Date.now() - days * 24 * 3_600_000, id);
    await age(7.1, "m-1");
    await age(6.9, "m-2");
    await h.ring();
    expect(await ids()).toEqual(["m-2", "m-3"]);
    await age(7.1, "m-2");
    await age(7.1, "m-3");
    await h.ring();
    expect(await ids()).toEqual([]);
  });

  it("is not taken where too many wait", async () => {
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    await h.ended(1);
    await h.sql(
      `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${mostOpen})
       INSERT INTO deliveries (id, digest, status, conversation_key, input, created_ms, due_ms, strikes, reply)
       SELECT 'w' || i, 'w' || i, 'queued', 'k', 'x', 0, 9e15, 0, 'none' FROM n`,
    );
    expect(await h.post({ key: "a", text: "Hello!" }, "m-2")).toEqual({ status: "full", retryAfterMs: 30_000 });
    expect(await h.post({ key: "a", text: "First." }, "m-1")).toMatchObject({ status: "accepted" });
  });
});

describe("a process that dies", () => {
  it("while a turn runs appends nothing twice, and the reply comes", async () => {
    h = newHook({ options: { ...greedy, maxTokens: 200 } });
    await h.create();
    await h.post({ key: "a", text: "Tell me a story about a fox." }, "m-1");
    await expect.poll(h.statuses, { timeout: 10_000, interval: 5 }).toEqual(["in_progress"]);
    await abortAllDurableObjects();
    await h.ring();
    const [one] = (await h.ended(1)) as [DeliveryView];
    expect(await h.said(one)).toEqual(["Tell me a story about a fox."]);
    await expect.poll(() => receivedAt(h.path).length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(new Set(receivedAt(h.path).map(({ headers }) => headers["webhook-id"])).size).toBe(1);
  });

  it("before it knew of its turn attaches to it", async () => {
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await h.ended(1)) as [DeliveryView];
    // As it was right behind the beginning of the turn.
    await h.sql(
      `UPDATE deliveries SET status = 'queued', turn = NULL, object = NULL, due_ms = 1, finished_ms = NULL, input = 'Hello!',
         conversation_key = ?`,
      await hashedName("key", h.hook.id, "a"),
    );
    await abortAllDurableObjects();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    await h.post({ key: "b", text: "Wakes it." }, "m-2");
    await h.ended(2);
    const [again] = (await h.list()) as [DeliveryView];
    expect(again.response).toBe(one.response);
    expect(await h.said(again)).toEqual(["Hello!"]);
  });

  it("with a reply in its hands leaves it to the alarm", async () => {
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    await h.ended(1);
    await expect.poll(async () => (await h.list())[0]?.reply).toBe("handed_over");
    const event = { id: "evt_left", type: "hook.replied", createdMs: 1, dataId: h.hook.id, data: { text: "left" } };
    const url = `https://receiver.example.com${h.path}left/200`;
    const notice = JSON.stringify({ url, event });
    await h.sql("UPDATE deliveries SET reply = 'pending', notice = ?", notice);
    await abortAllDurableObjects();
    await h.ring();
    await expect.poll(() => receivedAt(`${h.path}left/`).length).toBe(1);
    await expect.poll(async () => (await h.list())[0]?.reply).toBe("handed_over");
  });

  it("again and again with the same delivery makes it one that failed, and is told so", async () => {
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    await h.ended(1);
    await h.sql(
      `INSERT INTO deliveries (id, digest, status, conversation_key, input, created_ms, due_ms, strikes, reply)
       VALUES ('m-2', 'd', 'queued', 'k', 'x', 0, 1, ${mostStrikes}, 'none')`,
    );
    await h.ring();
    const [, two] = (await h.ended(2)) as [DeliveryView, DeliveryView];
    expect(two).toMatchObject({ status: "failed", error: { code: "given_up" } });
    await expect.poll(() => receivedAt(h.path).length).toBe(2);
    expect(JSON.parse(receivedAt(h.path)[1]?.body ?? "")).toMatchObject({
      type: "hook.failed",
      data: { delivery_id: "m-2", conversation: null, response: null },
    });
  });
});

describe("a turn that fails", () => {
  it("for good is told as that, at once", async () => {
    h = newHook({ options: { ...greedy, model: "nobody" } });
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await h.ended(1)) as [DeliveryView];
    expect(one).toMatchObject({ status: "failed", error: { code: "model_not_found" } });
    await expect.poll(() => receivedAt(h.path).length).toBe(1);
  });

  it("by a fault of the server's says nothing of it", async () => {
    h = newHook({ options: { ...greedy, model: "lost" } });
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await h.ended(1)) as [DeliveryView];
    const message = "The server failed to answer this request.";
    expect(one).toMatchObject({ status: "failed", error: { code: "invalid_config", message } });
  });

  it("in a way that may pass comes again, later and later, five times in all", async () => {
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await h.ended(1)) as [DeliveryView];
    await runInDurableObject(
      h.conversationOf(one) as never,
      (_, { storage }) => void storage.sql.exec("DROP TABLE turns"),
    );
    await h.post({ key: "a", text: "Hello again!" }, "m-2");
    for (let strikes = 1; strikes < mostStrikes; strikes++) {
      const dueMs = (strikeWaitsMs[strikes - 1] ?? 0) + Date.now() - 5_000;
      const waits = () =>
        h.sql("SELECT strikes FROM deliveries WHERE id = 'm-2' AND due_ms > ? AND turn IS NULL", dueMs);
      await expect.poll(waits, { timeout: 10_000 }).toEqual([{ strikes }]);
      expect(await h.statuses()).toEqual(["completed", "queued"]);
      await h.sql("UPDATE deliveries SET due_ms = 1 WHERE id = 'm-2'");
      await h.ring();
    }
    const [, two] = (await h.ended(2)) as [DeliveryView, DeliveryView];
    expect(two).toMatchObject({ status: "failed", error: { code: "internal" } });
  });
});

describe("the alarm", () => {
  const left = async () => ((await h.alarmMs()) ?? Infinity) - Date.now();

  it("is set for what waits, for a retry, and in the end for what goes", async () => {
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    await expect.poll(async () => (await h.list())[0]?.reply).toBe("handed_over");
    await h.ring(); // The one that was set while it ran.
    expect(Math.abs((await left()) - weekMs)).toBeLessThan(10_000);

    const release = await h.occupy(first);
    await h.post({ key: "a", text: "Second." }, "m-2");
    await expect
      .poll(() => h.sql("SELECT id FROM deliveries WHERE due_ms > created_ms AND strikes = 0"))
      .toHaveLength(1);
    expect(await left()).toBeLessThanOrEqual(2_000);
    await release();
    await h.ended(2);

    // Of a retry, when nothing else is open any more.
    await h.post({ key: "b", text: "Third." }, "m-3");
    const [, , third] = (await h.ended(3)) as [DeliveryView, DeliveryView, DeliveryView];
    await runInDurableObject(
      h.conversationOf(third) as never,
      (_, { storage }) => void storage.sql.exec("DROP TABLE turns"),
    );
    await h.post({ key: "b", text: "Fourth." }, "m-4");
    await expect.poll(() => h.sql("SELECT strikes FROM deliveries WHERE id = 'm-4'")).toEqual([{ strikes: 1 }]);
    await expect.poll(() => h.sql("SELECT id FROM deliveries WHERE notice IS NOT NULL")).toEqual([]);
    await h.sql("UPDATE deliveries SET due_ms = ? WHERE id = 'm-4'", Date.now() + 300_000);
    for (let rings = 0; rings < 2; rings++) await h.ring();
    expect(await left()).toBeGreaterThan(200_000);
    expect(await left()).toBeLessThanOrEqual(300_000);
  });

  it("is set while a reply is in nobody's hands, however often everything dies", async () => {
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    await h.ended(1);
    await expect.poll(async () => (await h.list())[0]?.reply).toBe("handed_over");
    const event = { id: `evt_${h.hook.id}_left`, type: "hook.replied", createdMs: 1, dataId: h.hook.id, data: {} };
    const url = `https://receiver.example.com${h.path}left/200`;
    const notice = JSON.stringify({ url, event });
    // Nobody takes it: it has no time.
    const unknown = JSON.stringify({ url, event: { ...event, createdMs: "never" } });
    await h.sql("UPDATE deliveries SET reply = 'pending', notice = ?", unknown);
    for (let deaths = 0; deaths < 3; deaths++) {
      await abortAllDurableObjects();
      const setMs = await runInDurableObject(h.stub() as never, async (object, { storage }) => {
        await (object as unknown as { alarm(): Promise<void> }).alarm();
        // What a process would leave that died at this moment.
        return storage.getAlarm();
      });
      expect(setMs).toBeLessThanOrEqual(Date.now() + 10_000);
    }
    // Nor on and on where the row that it is in is old and cannot go.
    await h.sql("UPDATE deliveries SET finished_ms = 1");
    await h.ring();
    expect(await left()).toBeLessThanOrEqual(10_000);
    expect(await left()).toBeGreaterThan(5_000);
    await h.sql("UPDATE deliveries SET notice = ?", notice);
    await h.ring();
    await expect.poll(() => receivedAt(`${h.path}left/`).length).toBe(1);
  });
});

describe("a hook", () => {
  it("has only so many turns at once", async () => {
    h = newHook({ options: { ...greedy, maxTokens: 300 }, input: "Tell me a story about a {{ text }}." });
    await h.create();
    const posts = Array.from({ length: mostAtOnce + 3 }, (_, i) => h.post({ key: String(i), text: "fox" }, `m-${i}`));
    await Promise.all(posts);
    let most = 0;
    const isOver = async () => {
      const statuses = await h.statuses();
      most = Math.max(most, statuses.filter((status) => status === "in_progress").length);
      return statuses.every((status) => status === "completed");
    };
    await expect.poll(isOver, { timeout: 20_000, interval: 5 }).toBe(true);
    expect(most).toBeLessThanOrEqual(mostAtOnce);
    expect(most).toBeGreaterThan(1);
  });

  it("waits a day for a conversation, and less and less often", async () => {
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    const release = await h.occupy(first);
    await h.post({ key: "a", text: "Second." }, "m-2");
    /** How long it waits, once no attempt is under way. */
    const dueIn = async () => {
      const [row] = await h.sql("SELECT due_ms FROM deliveries WHERE id = 'm-2' AND strikes = 0");
      return Number(row?.["due_ms"] ?? Number.NaN) - Date.now();
    };
    const lookAfter = async (waitedMs: number) => {
      await h.sql("UPDATE deliveries SET created_ms = ?, due_ms = 1 WHERE id = 'm-2'", Date.now() - waitedMs);
      await h.ring();
    };
    await expect.poll(dueIn).toBeGreaterThan(0);
    await lookAfter(80_000);
    await expect.poll(dueIn).toBeGreaterThan(9_000);
    expect(await dueIn()).toBeLessThanOrEqual(10_100);
    await lookAfter(23 * 3_600_000);
    await expect.poll(dueIn).toBeGreaterThan(50_000);
    await lookAfter(24 * 3_600_000);
    const [, second] = (await h.ended(2)) as [DeliveryView, DeliveryView];
    expect(second).toMatchObject({ status: "failed", error: { code: "timeout" } });
    await release();
  });

  it("gives up no post that processes died before, until many did", async () => {
    await h.create();
    await h.post({ key: "a", text: "Hello!" }, "m-1");
    for (let deaths = 0; deaths < 3; deaths++) {
      await abortAllDurableObjects();
      await h.sql("UPDATE deliveries SET due_ms = 1 WHERE due_ms IS NOT NULL");
      await h.ring();
    }
    await h.sql("UPDATE deliveries SET due_ms = 1 WHERE due_ms IS NOT NULL");
    await h.ring();
    const [one] = (await h.ended(1)) as [DeliveryView];
    expect(one.status).toBe("completed");
    expect(await h.said(one)).toEqual(["Hello!"]);
  });

  it("that dies before its turn begins looks again soon, and later each time", async () => {
    await h.create();
    await h.post({ key: "a", text: "First." }, "m-1");
    await h.ended(1);
    for (const [strikes, waitMs] of strikeWaitsMs.entries()) {
      await h.sql(
        `INSERT OR REPLACE INTO deliveries
           (number, id, digest, status, conversation_key, input, created_ms, due_ms, strikes, reply)
         VALUES (9, 'm-9', 'd', 'queued', 'k', 'x', 0, 1, ?, 'none')`,
        strikes,
      );
      const dueMs = await runInDurableObject(h.stub() as never, async (object, { storage }) => {
        await (object as unknown as { alarm(): Promise<void> }).alarm();
        // What a process would leave that died at this moment.
        return storage.sql.exec<{ due_ms: number }>("SELECT due_ms FROM deliveries WHERE number = 9").one().due_ms;
      });
      expect(Math.abs(dueMs - Date.now() - waitMs)).toBeLessThan(2_000);
      await h.ended(2);
    }
  });
});

describe("a registry of hooks", () => {
  it("lists the newest first, and has only so many", async () => {
    const registry = env.HOOK_REGISTRIES.get(env.HOOK_REGISTRIES.idFromName(`hooks/${randomName()}/all`));
    for (let i = 0; i < mostHooks; i++) await registry.add(`hook_${i}`);
    const failed = registry.add("hook_more").catch((error: { code: string }) => error.code);
    expect(await failed).toBe("invalid_argument");
    await registry.remove("hook_0");
    await registry.add("hook_more");
    const { ids, isLast } = await registry.list(null, 2);
    expect(ids).toHaveLength(2);
    expect(isLast).toBe(false);
    expect((await registry.list(ids[1] ?? "", 100)).ids).toHaveLength(98);
    expect([await registry.remove("hook_1"), await registry.remove("hook_1")]).toEqual([true, false]);
    // Those that are being made stay.
    await registry.dropLeftovers(["hook_2", "hook_nobody"]);
    expect((await registry.list(null, 200)).ids).toContain("hook_2");
    await runInDurableObject(registry as never, (_, { storage }) => storage.kv.put("hook/hook_2", Date.now() - 60_001));
    await registry.dropLeftovers(["hook_2"]);
    expect((await registry.list(null, 200)).ids).not.toContain("hook_2");
    expect(await registry.list("hook_0", 1)).toEqual({ ids: [], isLast: true });
  });
});
