import { describe, expect, it } from "vitest";
import { createSlots } from "../../src/engine/slots.ts";

const ignore = () => undefined;
const quick = { leaseMs: 100, pollMs: 2 };

describe("slots", () => {
  it("are lent once each, then in the order of asking", async () => {
    const slots = createSlots([16, 32], ignore, quick);
    const [first, second] = [await slots.acquire(), await slots.acquire()];
    expect([first.slotPtr, second.slotPtr].sort()).toEqual([16, 32]);
    const order: string[] = [];
    const third = slots.acquire().then((lease) => (order.push("third"), lease));
    const fourth = slots.acquire().then((lease) => (order.push("fourth"), lease));
    second.release();
    expect((await third).slotPtr).toBe(second.slotPtr);
    first.release();
    expect((await fourth).slotPtr).toBe(first.slotPtr);
    expect(order).toEqual(["third", "fourth"]);
  });

  it("skip those who gave up waiting", async () => {
    const slots = createSlots([16], ignore, quick);
    const first = await slots.acquire();
    const cancel = new AbortController();
    const gaveUp = slots.acquire(cancel.signal);
    const patient = slots.acquire();
    cancel.abort();
    await expect(gaveUp).rejects.toMatchObject({ code: "cancelled" });
    first.release();
    expect((await patient).slotPtr).toBe(16);
  });

  it("refuse who comes with an aborted signal", async () => {
    await expect(createSlots([16], ignore).acquire(AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
  });

  it("go to everybody in the end, though nobody could look for long", async () => {
    const slots = createSlots([16], ignore, { leaseMs: 10_000, pollMs: 2 });
    const owner = await slots.acquire();
    const served: number[] = [];
    const all = [1, 2, 3].map(async (name) => {
      const lease = await slots.acquire();
      served.push(name);
      lease.release();
    });
    await new Promise((resolve) => void setTimeout(resolve, 10));
    for (let i = 0; i < 2; i++) {
      // Longer than it takes to be thought gone: a long pass of a large model.
      for (const untilMs = Date.now() + 250; Date.now() < untilMs;);
      await new Promise((resolve) => void setTimeout(resolve, 5));
    }
    owner.release();
    await Promise.all(all);
    expect(served.toSorted()).toEqual([1, 2, 3]);
    expect(slots.isBusy()).toBe(false);
  });

  it("are cleared when they are given back", async () => {
    const cleared: number[] = [];
    const slots = createSlots([16], (slotPtr) => cleared.push(slotPtr), quick);
    const lease = await slots.acquire();
    expect(cleared).toEqual([]);
    lease.release();
    lease.release();
    expect(cleared).toEqual([16]);
  });

  it("do not count as lent to owners who are not heard of, who keep them until somebody wants them", async () => {
    const slots = createSlots([16, 32], ignore, quick);
    const [silent, heard] = [await slots.acquire(), await slots.acquire()];
    expect([slots.isBusy(), slots.isShared()]).toEqual([true, true]);
    await new Promise((resolve) => void setTimeout(resolve, quick.leaseMs + 20));
    heard.renew();
    expect([slots.isBusy(), slots.isShared()]).toEqual([true, false]);
    heard.release();
    expect(slots.isBusy()).toBe(false);
    silent.renew();
    expect(slots.isBusy()).toBe(true);
  });

  it("are taken from an owner who is not heard of, cleared, and cannot be used by it any more", async () => {
    const cleared: number[] = [];
    const slots = createSlots([16], (slotPtr) => cleared.push(slotPtr), quick);
    const silent = await slots.acquire();
    const next = await slots.acquire();
    expect(next.slotPtr).toBe(16);
    expect(cleared).toEqual([16]);
    expect(silent.isHeld()).toBe(false);
    expect(() => silent.renew()).toThrow(/lost its slot/);
    silent.release();
    expect(next.isHeld()).toBe(true);
  });

  it("stay with an owner who renews, however many wait", async () => {
    const slots = createSlots([16], ignore, quick);
    const owner = await slots.acquire();
    const waiting = slots.acquire();
    for (let i = 0; i < 20; i++) {
      await new Promise((resolve) => void setTimeout(resolve, 15));
      owner.renew();
    }
    expect(owner.isHeld()).toBe(true);
    owner.release();
    await waiting;
  });
});
