// Webhooks out in real workerd, with a clock of the test's own.
import { abortAllDurableObjects, env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Webhook } from "standardwebhooks";
import { delaysMs, jitter } from "../../src/outbox/schedule.ts";
import { mostAtOnce } from "../../src/outbox/endpoint.ts";
import { onceOf } from "../../src/outbox/env.ts";
import { testEvent } from "../../src/outbox/events.ts";
import { handOver } from "../../src/outbox/hand-over.ts";
import { newEvent, newTenant, type Tenant } from "./outbox.ts";
import { changed, heldCount, letGo, receivedAt } from "./receiver.ts";

const dayMs = 24 * 3_600_000;

let tenant: Tenant;
beforeEach(() => void (tenant = newTenant()));
afterEach(() => {
  vi.useRealTimers();
  letGo();
});

/** The storage of an endpoint's object. */
const inStorage = <R>(id: string, run: (storage: DurableObjectStorage) => R | Promise<R>): Promise<R> =>
  runInDurableObject(tenant.stub(id) as never, (_, { storage }) => run(storage));
const statusesOf = async (id: string) => (await tenant.log(id)).map(({ status }) => status);

describe("an event", () => {
  it("reaches every endpoint that wants it, once, signed with its own secret", async () => {
    const [all, some, none] = [
      await tenant.endpoint("200"),
      await tenant.endpoint("204", ["response.completed"]),
      await tenant.endpoint("200", ["response.failed"]),
    ];
    const event = newEvent();
    for (let time = 0; time < 3; time++) await tenant.registry().publish(event);
    for (const { id, path, secret } of [all, some]) {
      const delivery = await tenant.attempted(id, 1);
      expect(delivery).toMatchObject({ event: event.id, status: "delivered", nextAttemptMs: null });
      const [came, ...more] = receivedAt(path);
      expect(more).toEqual([]);
      const told = new Webhook(secret).verify(came?.body ?? "", came?.headers ?? {});
      expect(told).toMatchObject({ id: event.id, object: "event", type: event.type, data: { id: event.dataId } });
      expect(came?.headers).toMatchObject({ "webhook-id": event.id, "content-type": "application/json" });
    }
    expect(await tenant.log(none.id)).toEqual([]);
  });

  it("is told ten times by the schedule where it is not taken, and then no more", async () => {
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const { id, path } = await tenant.endpoint("500");
    await tenant.registry().publish(newEvent());
    for (let attempt = 1; attempt < delaysMs.length; attempt++) {
      const { status, nextAttemptMs, attempts } = await tenant.attempted(id, attempt);
      expect(status).toBe("pending");
      expect(attempts.at(-1)).toMatchObject({ atMs: Date.now(), status: 500, error: null });
      const [delayMs = 0, waitMs] = [delaysMs[attempt], (nextAttemptMs ?? 0) - Date.now()];
      expect(Math.abs(waitMs - delayMs)).toBeLessThanOrEqual(delayMs * jitter + 1);
      // Not before its time.
      await tenant.ring(id, (nextAttemptMs ?? 0) - 1);
      expect(receivedAt(path)).toHaveLength(attempt);
      await tenant.ring(id, nextAttemptMs ?? 0);
    }
    expect(await tenant.attempted(id, 10)).toMatchObject({ status: "failed", nextAttemptMs: null });
    expect(new Set(receivedAt(path).map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(receivedAt(path).map(({ body }) => body)).size).toBe(1);
    expect((await tenant.registry().view(id)).disabled).toBeNull();
    await tenant.ring(id, startMs + 10 * dayMs);
    expect(receivedAt(path)).toHaveLength(10);
  });

  it("waits as long as the receiver asks for", async () => {
    vi.setSystemTime(Date.now());
    const { id } = await tenant.endpoint("503?retry-after=7200");
    await tenant.registry().publish(newEvent());
    const { nextAttemptMs } = await tenant.attempted(id, 1);
    expect((nextAttemptMs ?? 0) - Date.now()).toBe(7_200_000);
  });

  it("is not sent on to where a receiver points", async () => {
    const target = await tenant.endpoint("200", ["batch.failed"]);
    const { id } = await tenant.endpoint(`302?location=${encodeURIComponent(target.url)}`, ["response.completed"]);
    await tenant.registry().publish(newEvent());
    const { status, attempts } = await tenant.attempted(id, 1);
    expect([status, attempts[0]?.status]).toEqual(["pending", 302]);
    expect(receivedAt(target.path)).toEqual([]);
  });

  it("is refused where its endpoint's address is not allowed any more", async () => {
    const { id, path } = await tenant.endpoint("200");
    await tenant.registry().update(id, { url: "https://user:password@receiver.example.com/" });
    await tenant.registry().publish(newEvent());
    expect((await tenant.attempted(id, 1)).attempts).toMatchObject([{ status: null, error: "address_refused" }]);
    expect(receivedAt(path)).toEqual([]);
  });

  it("that was being told when everything died is told again under the same id", async () => {
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const { id, path } = await tenant.endpoint("hold");
    const event = newEvent();
    await tenant.registry().publish(event);
    await expect.poll(() => receivedAt(path).length).toBe(1);
    await abortAllDurableObjects();
    letGo();
    expect(await statusesOf(id)).toEqual(["pending"]);
    await tenant.ring(id, startMs + 10_001);
    await expect.poll(heldCount).toBe(1);
    letGo();
    expect(await tenant.attempted(id, 1)).toMatchObject({ status: "delivered" });
    expect(receivedAt(path).map(({ headers }) => headers["webhook-id"])).toEqual([event.id, event.id]);
  });
});

describe("what was due when everything died", () => {
  /** As a process leaves it that dies right behind `accept`: the alarm is the one that was set then. */
  const leaveDue = async () => {
    const { id, path } = await tenant.endpoint("hold");
    await tenant.registry().publish(newEvent());
    await expect.poll(heldCount).toBe(1);
    await abortAllDurableObjects();
    letGo();
    return { id, path, owner: { registry: tenant.name, to: { endpoint: id } } };
  };

  it("has its alarm set, and is told at once where the address is tried out before", async () => {
    const startMs = Date.now();
    const { id, path, owner } = await leaveDue();
    expect(await tenant.alarm(id)).toBeLessThanOrEqual(Date.now() + 10_000);
    expect(await tenant.alarm(id)).toBeGreaterThan(startMs);
    changed.set(path, 200);
    const tried = tenant.stub(id).tryOut(owner, newEvent());
    await expect.poll(heldCount).toBe(1);
    letGo();
    await tried;
    await expect.poll(heldCount).toBe(1);
    expect(await tenant.alarm(id)).toBeLessThanOrEqual(Date.now() + 10_000);
    letGo();
    await expect.poll(() => statusesOf(id)).toEqual(["delivered", "delivered"]);
  });
});

describe("a slow endpoint", () => {
  it("holds up no other, and of its own events only those beyond six at once", async () => {
    const [slow, quick] = [await tenant.endpoint("hold"), await tenant.endpoint("200")];
    const events = Array.from({ length: 10 }, () => newEvent());
    for (const event of events) await tenant.registry().publish(event);
    await expect.poll(() => statusesOf(quick.id)).toEqual(events.map(() => "delivered"));
    expect(receivedAt(slow.path)).toHaveLength(mostAtOnce);
    // Asked for again while they are being told, they wait no less than others, and are told twice.
    for (const { headers } of receivedAt(slow.path)) await tenant.stub(slow.id).replay(headers["webhook-id"] ?? "");
    expect(receivedAt(slow.path)).toHaveLength(mostAtOnce);
    expect(letGo()).toBe(mostAtOnce);
    await expect.poll(heldCount).toBe(mostAtOnce);
    letGo();
    await expect.poll(heldCount).toBe(events.length - mostAtOnce);
    letGo();
    await expect.poll(() => statusesOf(slow.id)).toEqual(events.map(() => "delivered"));
    expect(receivedAt(slow.path)).toHaveLength(events.length + mostAtOnce);
  });
});

describe("an endpoint", () => {
  it("that answers 410 is disabled at once, and the others are told", async () => {
    const [gone, other] = [await tenant.endpoint("410"), await tenant.endpoint("200")];
    await tenant.registry().publish(newEvent());
    await expect.poll(async () => (await tenant.registry().view(gone.id)).disabled?.reason).toBe("gone");
    expect(await tenant.log(gone.id)).toMatchObject([{ status: "failed", attempts: [{ status: 410 }] }]);
    await expect.poll(() => receivedAt(other.path).length).toBe(2);
    const notice = receivedAt(other.path)
      .map(({ body }) => JSON.parse(body) as { type: string; data: { id: string } })
      .find(({ type }) => type === "webhook_endpoint.disabled");
    expect(notice?.data.id).toBe(gone.id);

    await tenant.registry().publish(newEvent());
    await expect.poll(() => receivedAt(other.path).length).toBe(3);
    expect(receivedAt(gone.path)).toHaveLength(1);
    changed.set(gone.path, 200);
    expect((await tenant.registry().update(gone.id, { isEnabled: true })).disabled).toBeNull();
    await tenant.stub(gone.id).replayAll({ fromMs: 0, toMs: Date.now(), status: "failed" });
    expect(await tenant.attempted(gone.id, 2)).toMatchObject({ status: "delivered" });
  });

  it("that takes nothing for five days is disabled when an event has had its last attempt", async () => {
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const failing = await tenant.endpoint("200", ["response.completed"]);
    const other = await tenant.endpoint("200", ["webhook_endpoint.disabled"]);
    await tenant.registry().publish(newEvent());
    await tenant.attempted(failing.id, 1);
    changed.set(failing.path, 500);
    /** Lets an event fail to its end, beginning at a time. */
    const failFrom = async (atMs: number) => {
      vi.setSystemTime(atMs);
      await tenant.registry().publish(newEvent());
      for (let attempt = 1; ; attempt++) {
        const { nextAttemptMs } = await tenant.attempted(failing.id, attempt);
        if (nextAttemptMs === null) return;
        await tenant.ring(failing.id, nextAttemptMs);
      }
    };
    await failFrom(startMs + 60_000);
    expect((await tenant.registry().view(failing.id)).disabled).toBeNull();
    await failFrom(startMs + 4 * dayMs);
    await expect.poll(async () => (await tenant.registry().view(failing.id)).disabled?.reason).toBe("failing");
    await expect.poll(() => receivedAt(other.path)).toHaveLength(1);
    const [notice] = receivedAt(other.path);
    expect(JSON.parse(notice?.body ?? "")).toMatchObject({
      type: "webhook_endpoint.disabled",
      data: { id: failing.id },
    });
    const seen = receivedAt(failing.path).length;
    await tenant.registry().publish(newEvent());
    expect(receivedAt(failing.path)).toHaveLength(seen);
  });

  it("that was disabled is told of to the others though everything died in between", async () => {
    const [one, other] = [await tenant.endpoint("200"), await tenant.endpoint("200", ["webhook_endpoint.disabled"])];
    await tenant.registry().disable(one.id, "gone");
    await tenant.attempted(other.id, 1);
    // As it is behind the write: the notice is stored, nobody has it.
    const event = newEvent({ type: "webhook_endpoint.disabled" });
    await runInDurableObject(tenant.registry() as never, (_, { storage }) => {
      expect([...storage.kv.list({ prefix: "notice/" })]).toEqual([]);
      storage.kv.put(`notice/${event.id}`, event);
      return storage.setAlarm(Date.now() + 1_000_000);
    });
    await abortAllDurableObjects();
    await runDurableObjectAlarm(tenant.registry() as never);
    await expect.poll(async () => (await tenant.log(other.id)).length).toBe(2);
  });

  it("that was deleted leaves nothing behind", async () => {
    const { id } = await tenant.endpoint("500");
    await tenant.registry().publish(newEvent());
    await tenant.attempted(id, 1);
    await tenant.registry().remove(id);
    const rows = await inStorage(id, async (storage) => [
      ...storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'"),
      ...storage.kv.list(),
      ...[await storage.getAlarm()].filter((alarm) => alarm !== null),
    ]);
    expect(rows).toEqual([]);
    expect(await tenant.registry().list(null, 10)).toEqual({ endpoints: [], isLast: true });
  });

  it("goes with its tenant, and so does what was still to be told to other addresses", async () => {
    const { id, path } = await tenant.endpoint("500");
    await tenant.registry().rotateSigningSecret(0);
    const event = newEvent();
    const own = `/own-${tenant.tenant}/500`;
    await handOver({ registry: tenant.name, event, url: `https://receiver.example.com${own}` }, env);
    const { nextAttemptMs } = await tenant.attempted(id, 1);
    await expect.poll(() => receivedAt(own).length).toBe(1);
    await tenant.registry().removeAll();
    const left = runInDurableObject(tenant.registry() as never, (_, { storage }) => [...storage.kv.list()]);
    expect(await left).toEqual([]);
    await tenant.ring(id, (nextAttemptMs ?? 0) + 1_000);
    await runDurableObjectAlarm(onceOf(env, tenant.name, event.id) as never);
    const log = onceOf(env, tenant.name, event.id).list({ status: null, after: null, limit: 1 });
    expect((await log).deliveries).toEqual([]);
    expect([receivedAt(path).length, receivedAt(own).length]).toEqual([1, 1]);
  });

  it("is told nothing where its deletion broke off", async () => {
    const { id, path } = await tenant.endpoint("500");
    await tenant.registry().publish(newEvent());
    const { nextAttemptMs } = await tenant.attempted(id, 1);
    await runInDurableObject(tenant.registry() as never, (_, { storage }) => {
      storage.kv.delete(`endpoint/${id}`);
    });
    await tenant.ring(id, nextAttemptMs ?? 0);
    expect(receivedAt(path)).toHaveLength(1);
    expect(await tenant.log(id)).toEqual([]);
  });

  it("can be tested, also while it is disabled", async () => {
    const { id, path } = await tenant.endpoint("418");
    await tenant.registry().update(id, { isEnabled: false });
    const owner = { registry: tenant.name, to: { endpoint: id } };
    expect(await tenant.stub(id).tryOut(owner, newEvent())).toMatchObject({ status: 418, error: null });
    expect(await tenant.log(id)).toMatchObject([
      { status: "failed", nextAttemptMs: null, attempts: [{ status: 418 }] },
    ]);
    expect(receivedAt(path)).toHaveLength(1);
  });

  it("keeps its log for thirty days, of at most 5 000 events, and the one that it took last", async () => {
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const { id, path } = await tenant.endpoint("200");
    await tenant.registry().publish(newEvent());
    const { event: taken } = await tenant.attempted(id, 1);
    changed.set(path, 500);
    await inStorage(id, ({ sql }) => {
      sql.exec(
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5050)
         INSERT INTO deliveries (event, type, body, created_ms, status, tries, finished_ms, attempts)
         SELECT 'old' || i, 'response.completed', '{}', ?1 + i, 'failed', 10, ?1 + i, '[]' FROM n`,
        startMs,
      );
    });
    await tenant.ring(id, startMs + dayMs);
    const count = () => inStorage(id, ({ sql }) => sql.exec("SELECT count(*) AS n FROM deliveries").one()["n"]);
    expect(await count()).toBe(5_001);
    expect(
      await inStorage(id, ({ sql }) => sql.exec("SELECT 1 FROM deliveries WHERE event = ?", taken).toArray()),
    ).toHaveLength(1);
    expect(
      await inStorage(id, ({ sql }) => sql.exec("SELECT 1 FROM deliveries WHERE event = 'old50'").toArray()),
    ).toEqual([]);
    await tenant.registry().publish(newEvent());
    await expect.poll(count).toBe(5_002);
    await tenant.ring(id, startMs + 30 * dayMs + 10_000);
    await expect.poll(count).toBe(1);
    expect(await statusesOf(id)).toEqual(["pending"]);
  });
});

describe("a replay", () => {
  it("tells an event anew, with its attempts in one log, and those of a time", async () => {
    const { id, path } = await tenant.endpoint("200");
    const events = Array.from({ length: 3 }, (_, i) => newEvent({ createdMs: 1_000 * (i + 1) }));
    for (const event of events) await tenant.registry().publish(event);
    await expect.poll(() => statusesOf(id)).toEqual(["delivered", "delivered", "delivered"]);
    expect(await tenant.stub(id).replay(events[0]?.id ?? "")).toMatchObject({ status: "pending" });
    await expect.poll(() => receivedAt(path).length).toBe(4);
    await expect.poll(async () => (await tenant.log(id)).map(({ attempts }) => attempts.length)).toEqual([1, 1, 2]);
    expect(await tenant.stub(id).replayAll({ fromMs: 2_000, toMs: 3_000, status: null })).toBe(2);
    await expect.poll(async () => (await tenant.log(id)).map(({ attempts }) => attempts.length)).toEqual([2, 2, 2]);
    expect(await tenant.stub(id).replayAll({ fromMs: 0, toMs: 9_000, status: "failed" })).toBe(0);
    const owner = { registry: tenant.name, to: { endpoint: id } };
    await tenant.stub(id).tryOut(owner, testEvent("response.completed", "once", 2_500));
    expect(await tenant.stub(id).replayAll({ fromMs: 2_000, toMs: 3_000, status: null })).toBe(2);
    await runInDurableObject(tenant.stub(id) as never, (object) => {
      expect(() => (object as { replay(event: string): void }).replay("evt_nobody")).toThrow("no such event");
    });
  });

  it("of an event that waits for its next attempt is made at once", async () => {
    const { id, path } = await tenant.endpoint("500");
    const event = newEvent();
    await tenant.registry().publish(event);
    await tenant.attempted(id, 1);
    changed.set(path, 200);
    await tenant.stub(id).replay(event.id);
    expect(await tenant.attempted(id, 2)).toMatchObject({ status: "delivered" });
  });

  it("is not needed of what was taken while its endpoint was disabled", async () => {
    const { id } = await tenant.endpoint("hold");
    await tenant.registry().publish(newEvent());
    await expect.poll(heldCount).toBe(1);
    await inStorage(id, ({ sql }) =>
      sql.exec("UPDATE deliveries SET status = 'failed', due_ms = NULL, finished_ms = 1").toArray(),
    );
    letGo();
    expect(await tenant.attempted(id, 1)).toMatchObject({ status: "delivered" });
    expect(
      await inStorage(id, ({ sql }) => sql.exec("SELECT 1 FROM deliveries WHERE finished_ms > 1").toArray()),
    ).toHaveLength(1);
  });

  it("that is asked for while the last attempt runs is another one", async () => {
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const { id, path } = await tenant.endpoint("hold");
    const event = newEvent();
    await tenant.registry().publish(event);
    await expect.poll(heldCount).toBe(1);
    await inStorage(id, ({ sql }) => sql.exec("UPDATE deliveries SET tries = ?", delaysMs.length - 1).toArray());
    await abortAllDurableObjects();
    letGo();
    await tenant.ring(id, startMs + 10_001);
    await expect.poll(heldCount).toBe(1);
    await tenant.stub(id).replay(event.id);
    changed.set(path, 500);
    letGo();
    await expect.poll(heldCount).toBe(1);
    expect(await tenant.attempted(id, 1)).toMatchObject({ status: "pending", attempts: [{ status: 500 }] });
    changed.set(path, 200);
    letGo();
    expect(await tenant.attempted(id, 2)).toMatchObject({ status: "delivered" });
  });
});

describe("secrets", () => {
  it("sign side by side for as long as a rotation says, and are never shown again", async () => {
    vi.setSystemTime(Date.now());
    const { id, path, secret: old } = await tenant.endpoint("200");
    const { secret: young } = await tenant.registry().rotate(id, 3_600_000);
    const knows = (secret: string) => {
      const { body, headers } = receivedAt(path).at(-1) ?? { body: "", headers: {} };
      try {
        new Webhook(secret).verify(body, headers);
        return true;
      } catch {
        return false;
      }
    };
    const owner = { registry: tenant.name, to: { endpoint: id } };
    const test = () => tenant.stub(id).tryOut(owner, newEvent());
    await test();
    expect([knows(old), knows(young)]).toEqual([true, true]);
    vi.setSystemTime(Date.now() + 3_600_000);
    await test();
    expect([knows(old), knows(young)]).toEqual([false, true]);
    const shown = JSON.stringify([await tenant.registry().view(id), await tenant.registry().list(null, 10)]);
    expect(shown).not.toContain(young.slice(6));
    expect(shown).toContain(`whsec_…${young.slice(-4)}`);
  });
});

describe("an address for one event alone", () => {
  it("is told of it, signed with the tenant's secret, and forgotten a week later; what was said, at once", async () => {
    const startMs = Date.now();
    vi.setSystemTime(startMs);
    const { secret } = await tenant.registry().rotateSigningSecret(0);
    const event = newEvent();
    const path = `/once-${tenant.tenant}/200`;
    const notice = { registry: tenant.name, event, url: `https://receiver.example.com${path}` };
    for (let time = 0; time < 2; time++) await handOver(notice, env);
    await expect.poll(() => receivedAt(path).length).toBe(1);
    const [came] = receivedAt(path);
    expect(new Webhook(secret).verify(came?.body ?? "", came?.headers ?? {})).toMatchObject({ id: event.id });
    const stub = onceOf(env, tenant.name, event.id);
    const log = () => stub.list({ status: null, after: null, limit: 10 });
    await expect.poll(async () => (await log()).deliveries[0]?.status).toBe("delivered");
    expect(await bodies(stub)).toEqual([""]);
    for (const [atMs, left] of [
      [startMs + 7 * dayMs - 1_000, 1],
      [startMs + 7 * dayMs + 1_000, 0],
    ] as const) {
      vi.setSystemTime(atMs);
      await runDurableObjectAlarm(stub as never);
      expect((await log()).deliveries).toHaveLength(left);
    }
  });

  it("that takes nothing is told its event to the end, and what was said goes then", async () => {
    await tenant.registry().rotateSigningSecret(0);
    const event = newEvent();
    const path = `/never-${tenant.tenant}/500`;
    await handOver({ registry: tenant.name, event, url: `https://receiver.example.com${path}` }, env);
    const stub = onceOf(env, tenant.name, event.id);
    for (let attempts = 1; attempts <= 10; attempts++) {
      const log = async () => (await stub.list({ status: null, after: null, limit: 10 })).deliveries[0];
      await expect.poll(async () => (await log())?.attempts.length, { timeout: 5_000 }).toBe(attempts);
      expect(receivedAt(path).at(-1)?.body).toContain(event.id);
      vi.setSystemTime((await log())?.nextAttemptMs ?? 0);
      if (attempts < 10) await runDurableObjectAlarm(stub as never);
    }
    expect(await bodies(stub)).toEqual([""]);
  });
});

/** What is kept of what events say. */
const bodies = (stub: ReturnType<typeof onceOf>): Promise<unknown[]> =>
  runInDurableObject(stub as never, (_, { storage }) =>
    storage.sql
      .exec("SELECT body FROM deliveries")
      .toArray()
      .map(({ body }) => body),
  );
