// What is on its way and what runs, by the clock.
import { describe, expect, it } from "vitest";
import { leaseMs, Leases, lostAfterMs, mostUnderway } from "../../src/batch/leases.ts";

const all = Array.from({ length: 100 }, (_, i) => i);

describe("stretches", () => {
  it("are sent once, so many at a time, and again when nobody came for them", () => {
    const leases = new Leases();
    expect(leases.send(all, 0)).toEqual(all.slice(0, mostUnderway));
    expect(leases.send(all, 1)).toEqual([]);
    leases.drop(3);
    expect(leases.send(all.slice(4), 2)).toEqual([mostUnderway]);
    expect(leases.send(all, lostAfterMs)).toContain(0);
  });

  it("are run by one, until it is silent for too long", () => {
    const leases = new Leases();
    leases.send(all, 0);
    expect(leases.take(0, 5, 10)).toBe(true);
    expect(leases.firstLine(0)).toBe(5);
    expect(leases.take(0, 5, 10 + leaseMs - 1)).toBe(false);
    leases.renew(0, 6, 10 + leaseMs - 1);
    expect(leases.take(0, 5, 10 + leaseMs)).toBe(false);
    expect(leases.isBusy(10 + leaseMs)).toBe(true);
    expect(leases.send(all, 10 + leaseMs)).not.toContain(0);
    const silentMs = 9 + 2 * leaseMs;
    expect(leases.isBusy(silentMs)).toBe(false);
    expect(leases.take(0, 6, silentMs)).toBe(true);
  });

  it("that run are learnt of from whoever runs them", () => {
    const leases = new Leases();
    leases.renew(7, 56, 0);
    expect(leases.take(7, 56, 1)).toBe(false);
    leases.drop(7);
    expect(leases.isBusy(1)).toBe(false);
  });

  it("are not sent while a limit is reached", () => {
    const leases = new Leases();
    leases.pause(1_000);
    leases.pause(500);
    expect(leases.pausedUntilMs(999)).toBe(1_000);
    expect(leases.send(all, 999)).toEqual([]);
    expect(leases.pausedUntilMs(1_000)).toBe(0);
    expect(leases.send(all, 1_000)).toHaveLength(mostUnderway);
  });
});
