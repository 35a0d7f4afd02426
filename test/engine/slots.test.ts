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

  it("are cleared when they are given back", async () => {
    const cleared: number[] = [];
    const slots = createSlots([16], (slotPtr) => cleared.push(slotPtr), quick);
    const lease = await slots.acquire();
    expect(cleared).toEqual([]);
    lease.release();
    lease.release();
    expect(cleared).toEqual([16]);
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
