import { describe, expect, it } from "vitest";
import { createSlots } from "../../src/engine/slots.ts";

describe("slots", () => {
  it("are given out once each, then in the order of asking", async () => {
    const slots = createSlots([16, 32]);
    expect([await slots.acquire(), await slots.acquire()].sort()).toEqual([16, 32]);
    const order: string[] = [];
    const third = slots.acquire().then((slot) => (order.push("third"), slot));
    const fourth = slots.acquire().then((slot) => (order.push("fourth"), slot));
    slots.release(32);
    expect(await third).toBe(32);
    slots.release(16);
    expect(await fourth).toBe(16);
    expect(order).toEqual(["third", "fourth"]);
  });

  it("skip those who gave up waiting", async () => {
    const slots = createSlots([16]);
    await slots.acquire();
    const cancel = new AbortController();
    const gaveUp = slots.acquire(cancel.signal);
    const patient = slots.acquire();
    cancel.abort();
    await expect(gaveUp).rejects.toMatchObject({ code: "cancelled" });
    slots.release(16);
    expect(await patient).toBe(16);
  });

  it("refuse who comes with an aborted signal", async () => {
    await expect(createSlots([16]).acquire(AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" });
  });
});
