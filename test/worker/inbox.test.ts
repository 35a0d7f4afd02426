// Hooks in real workerd: what is posted is appended once, whatever dies, and what is refused never.
import { abortAllDurableObjects, env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import { conversationName, hashedName, randomName } from "../../src/conversation/names.ts";
import { hookName } from "../../src/inbox/env.ts";
import { mostOpen, mostStrikes } from "../../src/inbox/hook.ts";
import type { DeliveryView, NewHook, Post, Receipt } from "../../src/inbox/protocol.ts";
import { mostHooks } from "../../src/inbox/registry.ts";
import { newSecret, signedHeaders } from "../../src/outbox/signing.ts";
import { receivedAt } from "./receiver.ts";
import { greedy, say, stubOf } from "./turns.ts";

let object: string;
let hook: NewHook;
beforeEach(() => {
  object = randomName();
  hook = {
    id: `hook_${object}`,
    tenant: "",
    key: null,
    name: "test",
    options: { ...greedy, maxTokens: 8 },
    instructions: null,
    conversationKey: "{{ key }}",
    input: "{{ text }}",
    replyTo: { type: "callback", url: `https://receiver.example/${object}/200` },
    verification: "standard",
    secret: newSecret(),
  };
});

const stub = () => env.HOOKS.get(env.HOOKS.idFromName(hookName(object)));
const signed = (payload: object, id: string, secret = hook.secret): Post => {
  const body = JSON.stringify(payload);
  return { body: new TextEncoder().encode(body), headers: signedHeaders([secret], { id, body }, Date.now()) };
};
const post = (payload: object, id: string): Promise<Receipt> => stub().receive(signed(payload, id));
const list = async (): Promise<DeliveryView[]> =>
  (await stub().list("", { status: null, after: null, limit: 100 })).deliveries.toReversed();
const statuses = async () => (await list()).map(({ status }) => status);
const ring = () => runDurableObjectAlarm(stub() as never);
const sql = (query: string, ...values: (string | number)[]) =>
  runInDurableObject(stub() as never, (_, { storage }) => storage.sql.exec(query, ...values).toArray());
const conversationOf = ({ conversation }: DeliveryView) => {
  const [, name = ""] = /^conv_(\w{32})_0$/.exec(conversation ?? "") ?? [];
  return stubOf(conversationName("", name));
};
/** What users said in a delivery's conversation. */
const said = async (delivery: DeliveryView) => {
  const { turns } = await conversationOf(delivery).turns(0, { order: "asc", from: undefined, limit: 100 });
  return turns.filter(({ kind }) => kind === "reply").flatMap(({ messages }) => messages.map(({ content }) => content));
};
const ended = async (count: number) => {
  const isOver = async () => (await statuses()).filter((status) => !["queued", "in_progress"].includes(status)).length;
  await expect.poll(isOver, { timeout: 20_000 }).toBe(count);
  return list();
};

describe("a post", () => {
  it("is appended once, however often and however close together it comes", async () => {
    await stub().create(hook);
    const receipts = await Promise.all(Array.from({ length: 8 }, () => post({ key: "a", text: "Hello!" }, "m-1")));
    expect(new Set(receipts.map(({ status }) => status))).toEqual(new Set(["accepted"]));
    const [one] = (await ended(1)) as [DeliveryView];
    await post({ key: "a", text: "Hello!" }, "m-1");
    // The id is what counts: what else it says the second time is not read.
    await post({ key: "a", text: "Something else." }, "m-1");
    expect(await statuses()).toEqual(["completed"]);
    expect(await said(one)).toEqual(["Hello!"]);
    await expect.poll(() => receivedAt(`/${object}/`).length).toBe(1);
  });

  it("that is refused leaves nothing", async () => {
    expect(await post({ key: "a", text: "Hello!" }, "m-1")).toEqual({ status: "refused" });
    const rows = await runInDurableObject(stub() as never, (_, { storage }) => storage.sql.databaseSize);
    await stub().create(hook);
    expect(await stub().receive(signed({ key: "a", text: "Hello!" }, "m-1", newSecret()))).toEqual({
      status: "refused",
    });
    expect(await post({ text: "No key." }, "m-2")).toMatchObject({ status: "malformed" });
    expect(await list()).toEqual([]);
    expect(rows).toBeLessThan(20_000);
  });

  it("of one conversation waits for the one before, and for whatever else runs there", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "First." }, "m-1");
    const [first] = (await ended(1)) as [DeliveryView];
    const running = await conversationOf(first).begin(
      say("Tell me a story about a fox.", { options: { maxTokens: 400 } }),
    );
    await post({ key: "a", text: "Second." }, "m-2");
    await post({ key: "a", text: "Third." }, "m-3");
    await post({ key: "b", text: "Elsewhere." }, "m-4");
    await expect.poll(async () => (await list())[3]?.status, { timeout: 10_000 }).toBe("completed");
    await conversationOf(first).cancel(running.turn);
    // The alarm of the wait.
    await expect
      .poll(async () => (await ring(), (await statuses()).every((status) => status === "completed")), {
        timeout: 20_000,
      })
      .toBe(true);
    expect(await said(first)).toEqual(["First.", "Tell me a story about a fox.", "Second.", "Third."]);
    expect((await sql("SELECT max(strikes) AS most FROM deliveries"))[0]).toEqual({ most: 0 });
  });

  it("does not overtake one that waits, except in another conversation", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "First." }, "m-1");
    const [first] = (await ended(1)) as [DeliveryView];
    const running = await conversationOf(first).begin(say("Tell me a story.", { options: { maxTokens: 400 } }));
    await post({ key: "a", text: "Second." }, "m-2");
    await expect.poll(() => sql("SELECT id FROM deliveries WHERE due_ms > created_ms")).toHaveLength(1);
    await sql("UPDATE deliveries SET due_ms = 9e15 WHERE id = 'm-2'");
    await conversationOf(first).cancel(running.turn);
    await post({ key: "a", text: "Third." }, "m-3");
    await post({ key: "b", text: "Elsewhere." }, "m-4");
    await expect.poll(statuses, { timeout: 10_000 }).toEqual(["completed", "queued", "queued", "completed"]);
    await sql("UPDATE deliveries SET due_ms = 1 WHERE id = 'm-2'");
    await ring();
    await ended(4);
    expect(await said(first)).toEqual(["First.", "Tell me a story.", "Second.", "Third."]);
  });

  it("goes on with a conversation of its own after the one of its key was deleted", async () => {
    hook = { ...hook, instructions: "Be kind." };
    await stub().create(hook);
    await post({ key: "a", text: "First." }, "m-1");
    const [first] = (await ended(1)) as [DeliveryView];
    await conversationOf(first).removeBranch(0);
    await post({ key: "a", text: "Second." }, "m-2");
    await ended(2);
    // The tombstone of the first goes after a day.
    await runDurableObjectAlarm(conversationOf(first) as never);
    await post({ key: "a", text: "Third." }, "m-3");
    const [, second, third] = (await ended(3)) as [DeliveryView, DeliveryView, DeliveryView];
    expect(second.conversation).not.toBe(first.conversation);
    expect(third.conversation).toBe(second.conversation);
    expect(await said(third)).toEqual(["Second.", "Third."]);
    const { turns } = await conversationOf(third).turns(0, { order: "asc", from: undefined, limit: 10 });
    expect(turns[0]).toMatchObject({ kind: "items", messages: [{ role: "developer", content: "Be kind." }] });
  });

  it("is forgotten a week after it was over, but not while its reply is on its way", async () => {
    await stub().create(hook);
    for (const id of ["m-1", "m-2", "m-3"]) await post({ key: id, text: "Hello!" }, id);
    await ended(3);
    await expect.poll(async () => (await list()).every(({ reply }) => reply === "handed_over")).toBe(true);
    const ids = async () => (await list()).map(({ id }) => id);
    const age = (days: number, id: string) =>
      sql("UPDATE deliveries SET finished_ms = ? WHERE id = ?", Date.now() - days * 24 * 3_600_000, id);
    await age(7.1, "m-1");
    await age(6.9, "m-2");
    await ring();
    expect(await ids()).toEqual(["m-2", "m-3"]);
    await age(7.1, "m-2");
    await age(7.1, "m-3");
    await ring();
    expect(await ids()).toEqual([]);
  });

  it("is not taken where too many wait", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "First." }, "m-1");
    await ended(1);
    await sql(
      `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${mostOpen})
       INSERT INTO deliveries (id, digest, status, conversation_key, input, created_ms, due_ms, strikes, reply)
       SELECT 'w' || i, 'w' || i, 'queued', 'k', 'x', 0, 9e15, 0, 'none' FROM n`,
    );
    expect(await post({ key: "a", text: "Hello!" }, "m-2")).toEqual({ status: "full", retryAfterMs: 30_000 });
    expect(await post({ key: "a", text: "First." }, "m-1")).toMatchObject({ status: "accepted" });
  });
});

describe("a process that dies", () => {
  it("while a turn runs appends nothing twice, and the reply comes", async () => {
    hook = { ...hook, options: { ...hook.options, maxTokens: 200 } };
    await stub().create(hook);
    await post({ key: "a", text: "Tell me a story about a fox." }, "m-1");
    await expect.poll(statuses, { timeout: 10_000, interval: 5 }).toEqual(["in_progress"]);
    await abortAllDurableObjects();
    await ring();
    const [one] = (await ended(1)) as [DeliveryView];
    expect(await said(one)).toEqual(["Tell me a story about a fox."]);
    await expect.poll(() => receivedAt(`/${object}/`).length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(new Set(receivedAt(`/${object}/`).map(({ headers }) => headers["webhook-id"])).size).toBe(1);
  });

  it("before it knew of its turn attaches to it", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await ended(1)) as [DeliveryView];
    // As it was right behind the beginning of the turn.
    await sql(
      `UPDATE deliveries SET status = 'queued', turn = NULL, object = NULL, due_ms = 1, finished_ms = NULL, input = 'Hello!',
         conversation_key = ?`,
      await hashedName("key", hook.id, "a"),
    );
    await abortAllDurableObjects();
    await post({ key: "a", text: "Hello!" }, "m-1");
    await post({ key: "b", text: "Wakes it." }, "m-2");
    await ended(2);
    const [again] = (await list()) as [DeliveryView];
    expect(again.response).toBe(one.response);
    expect(await said(again)).toEqual(["Hello!"]);
  });

  it("with a reply in its hands leaves it to the alarm", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "Hello!" }, "m-1");
    await ended(1);
    await expect.poll(async () => (await list())[0]?.reply).toBe("handed_over");
    const event = { id: "evt_left", type: "hook.replied", createdMs: 1, dataId: hook.id, data: { text: "left" } };
    const notice = JSON.stringify({ url: `https://receiver.example/${object}/left/200`, event });
    await sql("UPDATE deliveries SET reply = 'pending', notice = ?", notice);
    await abortAllDurableObjects();
    await ring();
    await expect.poll(() => receivedAt(`/${object}/left/`).length).toBe(1);
    await expect.poll(async () => (await list())[0]?.reply).toBe("handed_over");
  });

  it("again and again with the same delivery makes it one that failed, and is told so", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "Hello!" }, "m-1");
    await ended(1);
    await sql(
      `INSERT INTO deliveries (id, digest, status, conversation_key, input, created_ms, due_ms, strikes, reply)
       VALUES ('m-2', 'd', 'queued', 'k', 'x', 0, 1, ${mostStrikes}, 'none')`,
    );
    await ring();
    const [, two] = (await ended(2)) as [DeliveryView, DeliveryView];
    expect(two).toMatchObject({ status: "failed", error: { code: "given_up" } });
    await expect.poll(() => receivedAt(`/${object}/`).length).toBe(2);
    expect(JSON.parse(receivedAt(`/${object}/`)[1]?.body ?? "")).toMatchObject({
      type: "hook.failed",
      data: { delivery_id: "m-2", conversation: null, response: null },
    });
  });
});

describe("a turn that fails", () => {
  it("for good is told as that, at once", async () => {
    hook = { ...hook, options: { ...hook.options, model: "nobody" } };
    await stub().create(hook);
    await post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await ended(1)) as [DeliveryView];
    expect(one).toMatchObject({ status: "failed", error: { code: "model_not_found" } });
    await expect.poll(() => receivedAt(`/${object}/`).length).toBe(1);
  });

  it("by a fault of the server's says nothing of it", async () => {
    hook = { ...hook, options: { ...hook.options, model: "lost" } };
    await stub().create(hook);
    await post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await ended(1)) as [DeliveryView];
    const message = "The server failed to answer this request.";
    expect(one).toMatchObject({ status: "failed", error: { code: "invalid_config", message } });
  });

  it("in a way that may pass comes again, three times in all", async () => {
    await stub().create(hook);
    await post({ key: "a", text: "Hello!" }, "m-1");
    const [one] = (await ended(1)) as [DeliveryView];
    await runInDurableObject(
      conversationOf(one) as never,
      (_, { storage }) => void storage.sql.exec("DROP TABLE turns"),
    );
    await post({ key: "a", text: "Hello again!" }, "m-2");
    for (let strikes = 1; strikes < mostStrikes; strikes++) {
      const waits = () => sql("SELECT strikes FROM deliveries WHERE id = 'm-2' AND due_ms > created_ms + 4000");
      await expect.poll(waits, { timeout: 10_000 }).toEqual([{ strikes }]);
      await sql("UPDATE deliveries SET due_ms = 1 WHERE id = 'm-2'");
      await ring();
    }
    const [, two] = (await ended(2)) as [DeliveryView, DeliveryView];
    expect(two).toMatchObject({ status: "failed", error: { code: "internal" } });
  });
});

describe("a registry of hooks", () => {
  it("lists the newest first, and has only so many", async () => {
    const registry = env.HOOK_REGISTRIES.get(env.HOOK_REGISTRIES.idFromName(`hooks/${object}/all`));
    for (let i = 0; i < mostHooks; i++) await registry.add(`hook_${i}`);
    const failed = registry.add("hook_more").catch((error: { code: string }) => error.code);
    expect(await failed).toBe("invalid_argument");
    await registry.remove("hook_0");
    await registry.add("hook_more");
    const { ids, isLast } = await registry.list(null, 2);
    expect(ids).toHaveLength(2);
    expect(isLast).toBe(false);
    expect((await registry.list(ids[1] ?? "", 100)).ids).toHaveLength(98);
    expect(await registry.list("hook_0", 1)).toEqual({ ids: [], isLast: true });
  });
});
