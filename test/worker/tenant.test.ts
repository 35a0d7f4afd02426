// The object of a tenant in real workerd, and turns that are charged to it.
import { abortAllDurableObjects, env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import { hashOf, newTenantId } from "../../src/tenant/api-key.ts";
import { noLimits, scopes, type Admission, type NewKey } from "../../src/tenant/protocol.ts";
import type { Tenant } from "../../src/tenant/tenant.ts";
import { eventsOf, say, stubOf } from "./turns.ts";

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

const ask = (secret: string, mostTokens: number | null = null, scope: "read" | "write" = "write") =>
  tenant.admit({ hash: hashOf(secret), scope, mostTokens });
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
    const rest: Admission[] = await Promise.all(Array.from({ length: 60 }, () => ask(other.secret)));
    expect(rest.filter(({ status }) => status === "admitted")).toHaveLength(33);
    expect(rest.at(-1)).toMatchObject({ what: "requests", rates: { requests: { limit: 40, remaining: 0 } } });
  });

  it("counts tokens as they were used, and gives back what was not", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, tokens_per_minute: 100 } });
    while (Date.now() % 60_000 > 55_000) await new Promise((resolve) => void setTimeout(resolve, 500));
    expect(await ask(secret, 101)).toMatchObject({ status: "too_large", mostTokens: 100 });
    const first = await ask(secret, 80);
    expect(await ask(secret, 30)).toMatchObject({ status: "limited", what: "tokens" });
    const charge = first.status === "admitted" ? first.charge! : 0;
    await tenant.settle(charge, { promptTokens: 50, cachedTokens: 45, completionTokens: 5 });
    await tenant.settle(charge, { promptTokens: 50, cachedTokens: 0, completionTokens: 50 });
    expect(await ask(secret, 90)).toMatchObject({ status: "admitted", rates: { tokens: { remaining: 0 } } });
    const today = new Date().toISOString().slice(0, 10);
    const used = { requests: 1, promptTokens: 50, cachedTokens: 45, completionTokens: 5 };
    expect(await tenant.usage(today, today)).toEqual([{ day: today, key: 1, ...used }]);
  });

  it("still knows what runs when its process died", async () => {
    const { secret } = await tenant.createKey({ ...key, limits: { ...noLimits, concurrency: 1 } });
    const first = await ask(secret, 10);
    await abortAllDurableObjects();
    tenant = tenantOf(id);
    expect(await ask(secret, 10)).toMatchObject({ status: "limited", what: "concurrency" });
    await tenant.settle(first.status === "admitted" ? first.charge! : 0, null);
    expect(await statusOf(ask(secret, 10))).toBe("admitted");
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
    const admission = await ask(secret, 5_000);
    const charge = admission.status === "admitted" ? admission.charge! : 0;
    const stub = stubOf(`charged to ${id}`);
    await stub.create({});
    const request = say("Tell me a story about a fox.");
    const charged = { ...request, options: { ...request.options, chargedTo: { tenant: id, charge } } };
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

  it("that is asked for again costs nothing more", async () => {
    const { secret } = await tenant.createKey(key);
    const stub = stubOf(`asked again ${id}`);
    await stub.create({});
    const request = say("Hello!");
    for (let attempt = 0; attempt < 2; attempt++) {
      const admission = await ask(secret, 100);
      const charge = admission.status === "admitted" ? admission.charge! : 0;
      const options = { ...request.options, chargedTo: { tenant: id, charge } };
      const repeat = { repeatKey: "same", repeatWithinMs: 60_000, isNamed: true };
      await eventsOf(await stub.stream({ ...request, ...repeat, options }));
    }
    const today = new Date().toISOString().slice(0, 10);
    await expect.poll(() => tenant.usage(today, today)).toMatchObject([{ requests: 1 }]);
  });
});
