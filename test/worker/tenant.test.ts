// The object of a tenant in real workerd, and turns that are charged to it.
import {
  abortAllDurableObjects,
  env,
  evictDurableObject,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Conversation } from "../../src/conversation/conversation.ts";
import { RunningCharge } from "../../src/conversation/charges.ts";
import type { TurnRequest } from "../../src/conversation/protocol.ts";
import { hashOf, newTenantId } from "../../src/tenant/api-key.ts";
import { leaseMs, noLimits, scopes, type Admission, type NewKey, type UsageRow } from "../../src/tenant/protocol.ts";
import type { Tenant } from "../../src/tenant/tenant.ts";
import { eventsOf, say, stubOf, turn } from "./turns.ts";

const day = 86_400_000;
const key: NewKey = { name: "k", scopes: [...scopes], limits: noLimits, expiresMs: null };
const tenantOf = (id: string) => env.TENANTS.get(env.TENANTS.idFromName(id));

let id: string;
let tenant: ReturnType<typeof tenantOf>;
beforeEach(async () => {
  id = newTenantId();
  tenant = tenantOf(id);
  await tenant.create(id, "Ada's", noLimits);
});
afterEach(() => void vi.useRealTimers());

const ask = (secret: string, mostTokens: number | null = null, scope: "read" | "write" = "write") =>
  tenant.admit({ hash: hashOf(secret), scope, mostTokens });
/** The charge of work that is let in. */
async function admitted(secret: string, mostTokens: number): Promise<number> {
  const admission: Admission = await ask(secret, mostTokens);
  if (admission.status !== "admitted" || admission.charge === null) throw new Error(`it is ${admission.status}`);
  return admission.charge;
}
const statusOf = async (admission: Promise<Admission>) => (await admission).status;

describe("a tenant", () => {
  it("lets in who has one of its keys, for what the key is for, until it expires or is revoked", async () => {
    const { secret } = await tenant.createKey(key);
    expect(await statusOf(ask(secret))).toBe("admitted");
    expect(await statusOf(ask(`${secret}0`))).toBe("unknown");
    const reader = await tenant.createKey({ ...key, scopes: ["read"] });
    expect(await statusOf(ask(reader.secret))).toBe("out_of_scope");
    expect(await statusOf(ask(reader.secret, null, "read"))).toBe("admitted");
    const old = await tenant.createKey({ ...key, expiresMs: Date.now() - 1 });
    expect(await statusOf(ask(old.secret))).toBe("expired");
    await tenant.revokeKey(1);
    expect(await statusOf(ask(secret))).toBe("unknown");
    await evictDurableObject(tenant as never);
    expect([await statusOf(ask(secret)), await statusOf(ask(reader.secret, null, "read"))]).toEqual([
      "unknown",
      "admitted",
    ]);
  });

  it("takes the secret before a rotation for as long as it was told", async () => {
    const { secret } = await tenant.createKey(key);
    const second = await tenant.rotateKey(1, day);
    expect(await statusOf(ask(secret))).toBe("admitted");
    expect(await statusOf(ask(second.secret))).toBe("admitted");
    const third = await tenant.rotateKey(1, 0);
    expect(await statusOf(ask(second.secret))).toBe("expired");
    expect(await statusOf(ask(third.secret))).toBe("admitted");
    expect(await statusOf(ask(secret))).not.toBe("admitted");
  });

  it("keeps no secret, and shows nothing that tells one", async () => {
    const { secret, view } = await tenant.createKey(key);
    const shown = JSON.stringify([view, await tenant.keys(), await tenant.view()]);
    expect(shown).not.toContain(secret);
    expect(shown).not.toContain(hashOf(secret));
  });

  it("lets exactly as many in as a limit says, though all ask at once", async () => {
    await tenant.update({ limits: { requests_per_minute: 40 } });
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 7 } });
    const other = await tenant.createKey(key);
    // Within one minute of the clock.
    while (Date.now() % 60_000 > 55_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    const admissions: Admission[] = await Promise.all(Array.from({ length: 20 }, () => ask(secret, 1)));
    expect(admissions.filter(({ status }) => status === "admitted")).toHaveLength(7);
    expect(admissions.at(-1)).toMatchObject({ status: "limited", what: "concurrency", retryAfterMs: 1_000 });
    // What runs no tokens is counted apart.
    for (const [tokens, most] of [
      [1, 33],
      [null, 40],
    ] as const) {
      const some: Admission[] = await Promise.all(Array.from({ length: 60 }, () => ask(other.secret, tokens)));
      expect(some.filter(({ status }) => status === "admitted")).toHaveLength(most);
    }
    const rest: Admission[] = [await ask(other.secret)];
    expect(rest.at(-1)).toMatchObject({ what: "requests", rates: { requests: { limit: 40, remaining: 0 } } });
  });

  it("counts tokens as they were used, and gives back what was not", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, tokens_per_minute: 100 } });
    while (Date.now() % 60_000 > 55_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    expect(await ask(secret, 101)).toMatchObject({ status: "too_large", mostTokens: 100 });
    const charge = await admitted(secret, 80);
    expect(await ask(secret, 30)).toMatchObject({ status: "limited", what: "tokens" });
    await tenant.settle(charge, { promptTokens: 50, cachedTokens: 45, completionTokens: 5 });
    await tenant.settle(charge, { promptTokens: 50, cachedTokens: 0, completionTokens: 50 });
    expect(await ask(secret, 90)).toMatchObject({ status: "admitted", rates: { tokens: { remaining: 0 } } });
    const today = new Date().toISOString().slice(0, 10);
    const used = { requests: 1, promptTokens: 50, cachedTokens: 45, completionTokens: 5 };
    expect(await tenant.usage(today, today)).toEqual([{ day: today, key: 1, ...used }]);
  });

  it("still knows what a minute had when it was put to sleep, and no more of it than there was", async () => {
    while (Date.now() % 60_000 > 40_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    await tenant.update({ limits: { requests_per_minute: 4, tokens_per_minute: 1_000 } });
    const { secret } = await tenant.createKey(key);
    const first = await admitted(secret, 600);
    await tenant.settle(first, { promptTokens: 50, cachedTokens: 0, completionTokens: 50 });
    await admitted(secret, 100);
    expect(await statusOf(ask(secret))).toBe("admitted");
    await new Promise((resolve) => void setTimeout(resolve, 3_000));
    const after = await admitted(secret, 100);
    await evictDurableObject(tenant as never);
    tenant = tenantOf(id);
    // Two before, one after, which is not written down but runs.
    expect(await ask(secret, 100)).toMatchObject({
      status: "admitted",
      rates: { requests: { remaining: 0 }, tokens: { remaining: 600 } },
    });
    expect(await ask(secret, 1)).toMatchObject({ status: "limited", what: "requests" });
    for (let i = 0; i < 3; i++) expect(await statusOf(ask(secret))).toBe("admitted");
    expect(await ask(secret)).toMatchObject({ status: "limited", what: "requests" });
    await tenant.settle(after, { promptTokens: 0, cachedTokens: 0, completionTokens: 1 });
    expect(await ask(secret, 1)).toMatchObject({ rates: { tokens: { remaining: 699 } } });
  }, 90_000);

  it("still knows what runs when its process died", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
    const charge = await admitted(secret, 10);
    await abortAllDurableObjects();
    tenant = tenantOf(id);
    expect(await ask(secret, 10)).toMatchObject({ status: "limited", what: "concurrency" });
    await tenant.settle(charge, null);
    expect(await statusOf(ask(secret, 10))).toBe("admitted");
  });

  it("takes more for work that turns out larger, as far as its minute has it", async () => {
    while (Date.now() % 60_000 > 50_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    await tenant.update({ limits: { tokens_per_minute: 200 } });
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, tokens_per_minute: 100 } });
    const charge = await admitted(secret, 40);
    expect(await tenant.raise(charge, 30)).toEqual({ status: "raised" });
    expect(await tenant.raise(charge, 90)).toEqual({ status: "raised" });
    expect(await ask(secret, 11)).toMatchObject({ status: "limited", what: "tokens" });
    expect(await statusOf(ask(secret, 10))).toBe("admitted");
    expect(await tenant.raise(charge, 91)).toEqual({ status: "limited" });
    expect(await tenant.raise(charge, 101)).toEqual({ status: "too_large", mostTokens: 100 });
    await abortAllDurableObjects();
    tenant = tenantOf(id);
    expect(await ask(secret, 1)).toMatchObject({ status: "limited", what: "tokens" });
    await tenant.settle(charge, { promptTokens: 60, cachedTokens: 0, completionTokens: 0 });
    expect(await statusOf(ask(secret, 30))).toBe("admitted");
    expect(await statusOf(ask(secret, 1))).toBe("limited");
  });

  it("takes more in the minute in which it is asked for, and still knows when its process died", async () => {
    await tenant.update({ limits: { tokens_per_minute: 100 } });
    const { secret } = await tenant.createKey(key);
    const startMs = (Math.floor(Date.now() / 60_000) + 1) * 60_000;
    vi.setSystemTime(startMs);
    const [first, second] = [await admitted(secret, 40), await admitted(secret, 40)];
    vi.setSystemTime(startMs + 60_000);
    await tenant.renew(first);
    await tenant.renew(second);
    const other = await admitted(secret, 20);
    expect(await tenant.raise(first, 100)).toEqual({ status: "limited" });
    await tenant.settle(other, null);
    expect(await tenant.raise(first, 100)).toEqual({ status: "raised" });
    expect(await statusOf(ask(secret, 1))).toBe("limited");
    await abortAllDurableObjects();
    tenant = tenantOf(id);
    expect(await statusOf(ask(secret, 1))).toBe("limited");
    await tenant.settle(second, { promptTokens: 40, cachedTokens: 0, completionTokens: 0 });
    expect(await statusOf(ask(secret, 1))).toBe("limited");
    await tenant.settle(first, { promptTokens: 10, cachedTokens: 0, completionTokens: 0 });
    expect(await statusOf(ask(secret, 91))).toBe("limited");
    expect(await statusOf(ask(secret, 90))).toBe("admitted");
  });

  it("gives work that is heard of again its place and its tokens back", async () => {
    await tenant.update({ limits: { tokens_per_minute: 100, concurrency: 2 } });
    const { secret } = await tenant.createKey(key);
    const startMs = (Math.floor(Date.now() / 60_000) + 1) * 60_000;
    vi.setSystemTime(startMs);
    const lost = await admitted(secret, 40);
    vi.setSystemTime(startMs + 2 * leaseMs);
    const next = await admitted(secret, 10);
    expect(await tenant.raise(lost, 95)).toEqual({ status: "limited" });
    expect(await ask(secret, 1)).toMatchObject({ status: "limited", what: "concurrency" });
    await tenant.settle(next, null);
    expect(await statusOf(ask(secret, 61))).toBe("limited");
    await tenant.settle(lost, { promptTokens: 90, cachedTokens: 0, completionTokens: 0 });
    expect(await statusOf(ask(secret, 11))).toBe("limited");
    expect(await statusOf(ask(secret, 10))).toBe("admitted");
  });

  it("keeps the place of work that runs in a process, however long", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
    const running = new RunningCharge({ tenant: id, charge: await admitted(secret, 40), tokens: 40 }, env);
    for (let i = 0; i < 5; i++) {
      vi.advanceTimersByTime(leaseMs / 2);
      expect(await statusOf(ask(secret, 1))).toBe("limited");
    }
    await running.settle(null);
    expect(vi.getTimerCount()).toBe(0);
    expect(await statusOf(ask(secret, 1))).toBe("admitted");
  });

  it("gives the place of work that is not heard of to others, and still counts what it says in the end", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 2 } });
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const [silent, heard] = [await admitted(secret, 40), await admitted(secret, 40)];
    vi.setSystemTime(startMs + leaseMs - 1);
    expect(await statusOf(ask(secret, 10))).toBe("limited");
    await tenant.renew(heard);
    vi.setSystemTime(startMs + leaseMs);
    const next = await admitted(secret, 10);
    expect(await statusOf(ask(secret, 10))).toBe("limited");
    await abortAllDurableObjects();
    tenant = tenantOf(id);
    expect(await statusOf(ask(secret, 10))).toBe("limited");
    const cost = { promptTokens: 3, cachedTokens: 1, completionTokens: 2 };
    for (const charge of [silent, silent, heard]) await tenant.settle(charge, cost);
    expect(await statusOf(ask(secret, 10))).toBe("admitted");
    expect(await statusOf(ask(secret, 10))).toBe("limited");
    await tenant.settle(next, null);
    const usage: UsageRow[] = await tenant.usage("2000-01-01", "2100-01-01");
    expect(usage.map(({ requests }) => requests)).toEqual([2]);
  });

  it("has a thousand keys, of which those that ended make room, the first that did first", async () => {
    const { secret } = await tenant.createKey(key);
    const charge = await admitted(secret, 10);
    await tenant.settle(charge, { promptTokens: 3, cachedTokens: 1, completionTokens: 2 });
    const { secret: second } = await tenant.createKey(key);
    const { secret: rotated } = await tenant.rotateKey(2, day);
    await runInDurableObject(tenant as never, (object) => {
      for (let made = 2; made < 999; made++) (object as Tenant).createKey(key);
    });
    const nowMs = Date.now();
    const expiring = await tenant.createKey({ ...key, expiresMs: nowMs + day });
    await runInDurableObject(tenant as never, (object) => {
      expect(() => (object as Tenant).createKey(key)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
    });
    vi.setSystemTime(nowMs + 1_000);
    await tenant.revokeKey(1);
    vi.setSystemTime(nowMs);
    await tenant.revokeKey(2);
    vi.setSystemTime(nowMs + 2_000);
    const numbers = async () => (await tenant.keys()).map((each: { key: number }) => each.key);
    expect((await tenant.createKey(key)).view.key).toBe(1_001);
    expect((await numbers()).slice(0, 3)).toEqual([1, 3, 4]);
    expect([await statusOf(ask(second)), await statusOf(ask(rotated))]).toEqual(["unknown", "unknown"]);
    expect((await tenant.createKey(key)).view.key).toBe(1_002);
    expect((await numbers())[0]).toBe(3);
    vi.setSystemTime(nowMs + day);
    expect(await statusOf(ask(expiring.secret))).toBe("expired");
    const last = await tenant.createKey(key);
    expect(await statusOf(ask(expiring.secret))).toBe("unknown");
    expect((await numbers()).slice(-4)).toEqual([999, 1_001, 1_002, 1_003]);
    await evictDurableObject(tenant as never);
    expect(await numbers()).toHaveLength(1_000);
    expect(await statusOf(ask(last.secret))).toBe("admitted");
    // What a dropped key used is still counted.
    expect(await tenant.usage("2000-01-01", "2100-01-01")).toMatchObject([{ key: 1, requests: 1, promptTokens: 3 }]);
  });

  it("that was deleted is one that never was", async () => {
    const { secret } = await tenant.createKey(key);
    await tenant.remove();
    expect(await statusOf(ask(secret))).toBe("unknown");
    await runInDurableObject(tenant as never, (object) => {
      expect(() => (object as Tenant).view()).toThrow(expect.objectContaining({ code: "not_found" }));
    });
    const never = tenantOf(newTenantId());
    expect(await statusOf(never.admit({ hash: hashOf(secret), scope: "read", mostTokens: null }))).toBe("unknown");
  });
});

describe("a turn", () => {
  it("is charged to its tenant, once, also when its object died in the middle", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
    const charge = await admitted(secret, 5_000);
    const stub = stubOf(`charged to ${id}`);
    await stub.create({});
    const request = say("Tell me a story about a fox.");
    const charged = { ...request, options: { ...request.options, chargedTo: { tenant: id, charge, tokens: 5_000 } } };
    const reader = (await stub.stream(charged)).getReader();
    for (let lines = 0; lines < 3; lines++) await reader.read();
    await abortAllDurableObjects();
    await reader.cancel().catch(() => undefined);

    const again = stubOf(`charged to ${id}`);
    await again.branch(0); // wakes it up: it goes on
    const events = await eventsOf(await again.events(1));
    const ended = events.at(-1);
    const usage = ended?.type === "ended" ? ended.view.usage : null;
    const today = new Date().toISOString().slice(0, 10);
    await expect
      .poll(() => tenantOf(id).usage(today, today))
      .toEqual([
        {
          day: today,
          key: 1,
          requests: 1,
          promptTokens: usage?.promptTokens,
          cachedTokens: usage?.cachedTokens,
          completionTokens: usage?.completionTokens,
        },
      ]);
    tenant = tenantOf(id);
    expect(await statusOf(ask(secret, 1))).toBe("admitted");
  });

  it("is charged when its process died before the tenant heard of its end", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
    const stub = stubOf(`unsettled ${id}`);
    await stub.create({});
    const chargedTo = { tenant: id, charge: await admitted(secret, 5_000), tokens: 5_000 };
    const view = await turn(stub, say("Hello!", { options: { chargedTo } }));
    await expect.poll(() => statusOf(ask(secret))).toBe("admitted");
    // As it is right behind the commit: the turn is whole, and its place is taken.
    const again = await admitted(secret, 100);
    await runInDurableObject(stub as never, (_, { storage }) => {
      const [{ unsettled = 1 } = {}] = storage.sql.exec("SELECT unsettled FROM turns WHERE turn = 1").toArray();
      expect(unsettled).toBe(0);
      const options = JSON.stringify({ ...view.options, chargedTo: { ...chargedTo, charge: again } });
      storage.sql.exec("UPDATE turns SET unsettled = 1, options = ? WHERE turn = 1", options);
    });
    await abortAllDurableObjects();
    await stubOf(`unsettled ${id}`).branch(0); // wakes it up
    tenant = tenantOf(id);
    const today = new Date().toISOString().slice(0, 10);
    const { promptTokens = 0, completionTokens = 0 } = view.usage ?? {};
    const twice = { requests: 2, promptTokens: 2 * promptTokens, completionTokens: 2 * completionTokens };
    await expect.poll(() => tenant.usage(today, today)).toMatchObject([twice]);
    expect(await statusOf(ask(secret, 1))).toBe("admitted");
  });

  it("that would read more than it was let in for is refused, and nothing of it is lost", async () => {
    while (Date.now() % 60_000 > 50_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, tokens_per_minute: 500 } });
    const stub = stubOf(`larger ${id}`);
    await stub.create({});
    const items = say("a fox and a hen ".repeat(200));
    await stub.append(0, items);
    const ends = async (maxTokens: number) => {
      const chargedTo = { tenant: id, charge: await admitted(secret, 60), tokens: 60 };
      return turn(stub, say("Hello!", { options: { chargedTo, maxTokens } }));
    };
    expect(await ends(50)).toMatchObject({ status: "failed", error: { code: "invalid_argument" }, usage: null });
    await expect.poll(() => statusOf(ask(secret, 500))).toBe("admitted");
    await tenant.updateKey(1, { limits: { tokens_per_minute: 20_000 } });
    const ended = await ends(50);
    expect(ended.usage?.promptTokens).toBeGreaterThan(500);
  });

  it("that is cancelled costs what was read for it, and what it left for others to share", async () => {
    const { secret } = await tenant.createKey(key);
    const today = new Date().toISOString().slice(0, 10);
    const long = "a kind fox and a hen ".repeat(2_500);
    const cancelled = async (name: string, request: TurnRequest) => {
      const chargedTo = { tenant: id, charge: await admitted(secret, 60_000), tokens: 60_000 };
      const stub = stubOf(`${name} ${id}`);
      const { turn: number } = await stub.begin({ ...request, options: { ...request.options, chargedTo } });
      await new Promise((resolve) => void setTimeout(resolve, 60));
      return stub.cancel(number);
    };
    const place = { kind: "after", turn: null } as const;
    const view = await cancelled("while it reads", say(long, { place }));
    const { usage } = view;
    expect(view.status).toBe("cancelled");
    expect(usage).toMatchObject({ cachedTokens: 0, completionTokens: 0, promptTokens: usage?.computedTokens });
    expect(usage?.promptTokens).toBeGreaterThan(0);
    const { promptTokens = 0 } = usage ?? {};
    await expect.poll(() => tenant.usage(today, today)).toMatchObject([{ requests: 1, promptTokens }]);

    const messages = [
      { role: "system" as const, content: long },
      { role: "user" as const, content: "Hello!" },
    ];
    const sharedBy = `shared by ${id}`;
    const shares = await cancelled("while others read", { ...say("", { place, options: { sharedBy } }), messages });
    expect(shares).toMatchObject({ status: "cancelled", usage: { cachedTokens: 0 } });
    const whole = promptTokens + (shares.usage?.promptTokens ?? 0);
    expect(whole).toBeGreaterThan(promptTokens + 10_000);
    await expect.poll(() => tenant.usage(today, today)).toMatchObject([{ requests: 2, promptTokens: whole }]);
    const next = await turn(stubOf(`next ${id}`), { ...say("", { place, options: { sharedBy } }), messages });
    expect(next).toMatchObject({ state: "shared", usage: { cachedTokens: shares.usage?.promptTokens } });
  });

  it.each(["alone", "with another that goes on from it"])(
    "is charged though it was deleted, %s, before the tenant heard of its end",
    async (how) => {
      const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
      const name = `deleted ${how} ${id}`;
      await stubOf(name).create({});
      const view = await turn(stubOf(name), say("Hello!"));
      if (how !== "alone") await turn(stubOf(name), say("Hello!"));
      const chargedTo = { tenant: id, charge: await admitted(secret, 5_000), tokens: 5_000 };
      await runInDurableObject(stubOf(name) as never, async (object, { storage }) => {
        const options = JSON.stringify({ ...view.options, chargedTo });
        storage.sql.exec("UPDATE turns SET unsettled = 1, options = ? WHERE turn = 1", options);
        await (object as unknown as Conversation).remove(1);
      });
      await abortAllDurableObjects();
      await runDurableObjectAlarm(stubOf(name) as never);
      tenant = tenantOf(id);
      const { promptTokens, completionTokens } = view.usage ?? {};
      await expect
        .poll(() => tenant.usage("2000-01-01", "2100-01-01"))
        .toMatchObject([{ requests: 1, promptTokens, completionTokens }]);
    },
  );

  it("that is not to be kept is charged and forgotten, though its process died behind its end", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
    const name = `not kept ${id}`;
    const stub = stubOf(name);
    await stub.create({});
    const request = say("Hello!", { place: { kind: "after", turn: null } });
    const view = await turn(stub, request);
    const chargedTo = { tenant: id, charge: await admitted(secret, 100), tokens: 100 };
    await runInDurableObject(stub as never, (_, { storage }) => {
      const options = JSON.stringify({ ...view.options, chargedTo, store: false });
      storage.sql.exec("UPDATE turns SET unsettled = 1, options = ? WHERE turn = 1", options);
    });
    await abortAllDurableObjects();
    await stubOf(name).branch(0); // wakes it up
    tenant = tenantOf(id);
    const { promptTokens } = view.usage ?? {};
    await expect.poll(() => tenant.usage("2000-01-01", "2100-01-01")).toMatchObject([{ requests: 1, promptTokens }]);
    await expect
      .poll(() =>
        runInDurableObject(stubOf(name) as never, (_, { storage }) =>
          storage.sql.exec("SELECT count(*) AS n FROM turns").one(),
        ),
      )
      .toEqual({ n: 0 });
  });

  it("that is asked for again costs nothing more", async () => {
    const { secret } = await tenant.createKey(key);
    const stub = stubOf(`asked again ${id}`);
    await stub.create({});
    const request = say("Hello!");
    for (let attempt = 0; attempt < 2; attempt++) {
      const admission = await ask(secret, 100);
      const charge = admission.status === "admitted" ? admission.charge! : 0;
      const options = { ...request.options, chargedTo: { tenant: id, charge, tokens: 5_000 } };
      const repeat = { repeatKey: "same", repeatWithinMs: 60_000, isNamed: true };
      await eventsOf(await stub.stream({ ...request, ...repeat, options }));
    }
    const today = new Date().toISOString().slice(0, 10);
    await expect.poll(() => tenant.usage(today, today)).toMatchObject([{ requests: 1 }]);
  });
});
