// Hooks of tenants: what runs is charged, what did not run is not, and waiting costs nothing.
import { env, runInDurableObject } from "cloudflare:test";
import { bytesToHex } from "@noble/hashes/utils.js";
import { beforeEach, describe, expect, it } from "vitest";
import type { DeliveryView, NewHook } from "../../src/inbox/protocol.ts";
import { newTenantId } from "../../src/tenant/api-key.ts";
import { noLimits, type Limits, type NewKey } from "../../src/tenant/protocol.ts";
import { newHook } from "./inbox.ts";
import { greedy } from "./turns.ts";

const tenantOf = (id: string) => env.TENANTS.get(env.TENANTS.idFromName(id));
let id: string;
beforeEach(async () => {
  id = newTenantId();
  await tenantOf(id).create(id, "Ada's", noLimits);
});

/** A hook of a key with these limits. */
async function hookOf(limits: Partial<Limits>, change: Partial<NewHook> = {}, key: Partial<NewKey> = {}) {
  const made = await tenantOf(id).createKey({
    name: "k",
    scopes: ["read", "write"],
    expiresMs: null,
    ...key,
    limits: { ...noLimits, ...limits },
  });
  const test = newHook({ tenant: id, key: made.view.key, ...change });
  await test.create();
  return { ...test, key: made.view.key, secret: made.secret };
}
const usage = async () => {
  const [row] = await tenantOf(id).usage("2000-01-01", "2100-01-01");
  return { requests: row?.requests ?? 0, completionTokens: row?.completionTokens ?? 0 };
};
const mayRun = async (key: number) => (await tenantOf(id).admit({ key, scope: "write", mostTokens: 1 })).status;

describe("a hook", () => {
  it("is closed, and says why, when its key is good for nothing any more", async () => {
    const closed = async ({ stub }: { stub: ReturnType<typeof newHook>["stub"] }) => (await stub().view(id)).closed;
    const [good, revoked, unknown] = [await hookOf({}), await hookOf({}), newHook({ tenant: id, key: 99 })];
    await tenantOf(id).revokeKey(revoked.key);
    await unknown.create();
    const expired = await hookOf({}, {}, { expiresMs: Date.now() - 1 });
    const reader = await hookOf({}, {}, { scopes: ["read"] });
    const reasons = await Promise.all([good, revoked, unknown, expired, reader].map(closed));
    expect(reasons).toEqual([null, "key_revoked", "key_deleted", "key_expired", "key_may_not_write"]);
    for (const h of [revoked, unknown, expired, reader]) {
      expect(await h.post({ key: "a", text: "Hello!" }, "m-1")).toEqual({ status: "refused" });
    }
  });
});

describe("a turn of a hook", () => {
  it("is charged though the hook is deleted right after the post", async () => {
    for (let round = 0; round < 5; round++) {
      const h = await hookOf({});
      await h.post({ key: "a", text: "Hello!" }, "m-1");
      await h.stub().remove(id);
    }
    // Those that began have cost something, and no other has.
    const settled = async () => {
      const { requests, completionTokens } = await usage();
      return requests === 0 ? completionTokens === 0 : completionTokens >= requests;
    };
    await expect.poll(settled, { timeout: 5_000 }).toBe(true);
  });

  it("that is begun when the hook is gone settles its own charge", async () => {
    const h = await hookOf({});
    const began = await runInDurableObject(h.stub() as never, async (object) => {
      const inside = object as unknown as { env: typeof env; remove(tenant: string): Promise<void> };
      const { CONVERSATIONS } = env;
      let turn: number | undefined;
      const get = (name: never) => {
        const stub = CONVERSATIONS.get(name);
        const begin = async (request: never) => {
          const view = await stub.begin(request);
          await inside.remove(id);
          ({ turn } = view);
          return view;
        };
        return new Proxy(stub, { get: (target, what) => (what === "begin" ? begin : Reflect.get(target, what)) });
      };
      inside.env = {
        ...env,
        CONVERSATIONS: { idFromName: (name: string) => CONVERSATIONS.idFromName(name), get } as never,
      };
      await (object as unknown as { receive(post: unknown): Promise<unknown> }).receive(
        h.signed({ key: "a", text: "Hello!" }, "m-1"),
      );
      await expect.poll(() => turn).toBeDefined();
      return turn;
    });
    expect(began).toBeGreaterThan(0);
    await expect.poll(usage).toMatchObject({ requests: 1 });
    expect((await usage()).completionTokens).toBeGreaterThan(0);
  });

  it("that never began gives back what it had taken", async () => {
    const h = await hookOf({ concurrency: 1 }, { options: { ...greedy, model: "nobody" } });
    for (let i = 0; i < 3; i++) await h.post({ key: "a", text: "Hello!" }, `m-${i}`);
    const deliveries = await h.ended(3);
    expect(deliveries.map(({ error }) => error?.code)).toEqual(Array(3).fill("model_not_found"));
    expect(await mayRun(h.key)).toBe("admitted");
  });

  it("takes no request of the key while it waits for its conversation", async () => {
    const h = await hookOf({ requests_per_minute: 4 });
    while (Date.now() % 60_000 > 50_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    await h.post({ key: "a", text: "First." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    const release = await h.occupy(first);
    await h.post({ key: "a", text: "Second." }, "m-2");
    for (let looks = 0; looks < 6; looks++) {
      await expect
        .poll(() => h.sql("SELECT id FROM deliveries WHERE due_ms > ? AND strikes = 0", Date.now()))
        .toHaveLength(1);
      await h.sql("UPDATE deliveries SET due_ms = 1 WHERE id = 'm-2'");
      await h.ring();
    }
    await release();
    const [, second] = (await h.ended(2)) as [DeliveryView, DeliveryView];
    expect(second.status).toBe("completed");
    // Two of four.
    expect([await mayRun(h.key), await mayRun(h.key), await mayRun(h.key)]).toEqual([
      "admitted",
      "admitted",
      "limited",
    ]);
  });

  it("waits for a limit that shows when it has begun, and leaves no turn of that", async () => {
    const h = await hookOf({ tokens_per_minute: 100_000 });
    while (Date.now() % 60_000 > 45_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    await h.post({ key: "a", text: "My name is Ada." }, "m-1");
    const [first] = (await h.ended(1)) as [DeliveryView];
    // Its state is gone: what was said has to be read again, which the minute has no tokens for.
    await runInDurableObject(h.conversationOf(first) as never, (_, { storage }) => {
      storage.sql.exec("DELETE FROM snapshots");
    });
    const { limits } = await tenantOf(id).key(h.key);
    const input = "What is my name?";
    await tenantOf(id).updateKey(h.key, { limits: { ...limits, tokens_per_minute: 200 } });
    const taken = await tenantOf(id).admit({ key: h.key, scope: "write", mostTokens: 200 - input.length - 8 - 40 });
    expect(taken.status).toBe("admitted");
    await h.post({ key: "a", text: input }, "m-2");
    const waits = () =>
      h.sql("SELECT status, strikes, turn FROM deliveries WHERE id = 'm-2' AND due_ms > ?", Date.now());
    await expect.poll(waits, { timeout: 5_000 }).toEqual([{ status: "queued", strikes: 0, turn: null }]);
    expect(await h.said(first)).toEqual(["My name is Ada."]);
    await tenantOf(id).updateKey(h.key, { limits: noLimits });
    await h.sql("UPDATE deliveries SET due_ms = 1 WHERE id = 'm-2'");
    await h.ring();
    const [, second] = (await h.ended(2)) as [DeliveryView, DeliveryView];
    expect(second.status).toBe("completed");
    expect(await h.said(first)).toEqual(["My name is Ada.", input]);
  });

  it("that found something taken is not the delivery's any more when it is removed", async () => {
    const h = await hookOf({ tokens_per_minute: 100_000 });
    const seen = await runInDurableObject(h.stub() as never, async (object, { storage }) => {
      const inside = object as unknown as { env: typeof env; receive(post: unknown): Promise<unknown> };
      const { CONVERSATIONS } = env;
      const rows: unknown[] = [];
      const get = (name: never) => {
        const stub = CONVERSATIONS.get(name);
        const remove = (turn: number) => {
          rows.push(...storage.sql.exec("SELECT status, turn FROM deliveries"));
          return stub.remove(turn);
        };
        const view = async (turn: number) => ({
          ...(await stub.view(turn)),
          status: "failed",
          error: { code: "overloaded", message: "" },
        });
        const faked: Record<string | symbol, unknown> = { remove, view };
        return new Proxy(stub, { get: (target, what) => faked[what] ?? Reflect.get(target, what) });
      };
      inside.env = {
        ...env,
        CONVERSATIONS: { idFromName: (name: string) => CONVERSATIONS.idFromName(name), get } as never,
      };
      await inside.receive(h.signed({ key: "a", text: "Hello!" }, "m-1"));
      await expect.poll(() => rows).toHaveLength(1);
      return rows;
    });
    expect(seen).toEqual([{ status: "queued", turn: null }]);
  });
});

describe("a hook whose key is good for nothing any more", () => {
  it.each([
    ["expired", { expiresMs: Date.now() - 1 }],
    ["may only read", { scopes: ["read" as const] }],
  ])("takes no post: it %s", async (_, key) => {
    const h = await hookOf({}, {}, key);
    expect(await h.post({ key: "a", text: "Hello!" }, "m-1")).toEqual({ status: "refused" });
    expect(await h.list()).toEqual([]);
  });

  it("answers no challenge of Slack's either", async () => {
    const h = await hookOf({});
    const slack = newHook({ tenant: id, key: h.key, verification: "slack", secret: "s3cret" });
    await slack.create();
    const post = async () => {
      const body = JSON.stringify({ type: "url_verification", challenge: "c" });
      const second = String(Math.floor(Date.now() / 1000));
      const data = new TextEncoder().encode(`v0:${second}:${body}`);
      const hmac = { name: "HMAC", hash: "SHA-256" };
      const secret = await crypto.subtle.importKey("raw", new TextEncoder().encode("s3cret"), hmac, false, ["sign"]);
      const signature = bytesToHex(new Uint8Array(await crypto.subtle.sign("HMAC", secret, data)));
      const headers = {
        "content-type": "application/json",
        "x-slack-signature": `v0=${signature}`,
        "x-slack-request-timestamp": second,
      };
      return (await slack.stub().receive({ body: new TextEncoder().encode(body), headers })).status;
    };
    expect(await post()).toBe("challenge");
    await tenantOf(id).revokeKey(h.key);
    expect(await post()).toBe("refused");
  });
});
