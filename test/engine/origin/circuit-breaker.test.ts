// The circuit breaker, with a clock of the test's own.
import { beforeEach, describe, expect, it } from "vitest";
import { CircuitBreaker } from "../../../src/engine/origin/circuit-breaker.ts";

const times = { firstWaitMs: 100, mostWaitMs: 350, probeMs: 1_000 };
let nowMs: number;
let breaker: CircuitBreaker;
beforeEach(() => {
  nowMs = 5_000;
  breaker = new CircuitBreaker(() => nowMs, times);
});

/** One that asks and fails, once it may. */
const fail = (leastWaitMs?: number) => {
  nowMs += breaker.waitMs;
  breaker.admit()!.failed(leastWaitMs);
};

describe("a circuit breaker", () => {
  it("knows whether the last failure will hardly pass, until something succeeds", () => {
    fail();
    expect(breaker.isLasting).toBe(false);
    nowMs += breaker.waitMs;
    breaker.admit()!.failed(0, true);
    nowMs += breaker.waitMs;
    const probe = breaker.admit()!;
    expect(breaker.isLasting).toBe(true);
    probe.succeeded();
    expect(breaker.isLasting).toBe(false);
  });

  it("lets everybody ask while nothing fails", () => {
    const attempts = [breaker.admit(), breaker.admit(), breaker.admit()];
    expect(attempts).not.toContain(null);
    attempts.forEach((attempt) => attempt!.succeeded());
    expect(breaker.waitMs).toBe(0);
  });

  it("lets nobody ask after a failure, until the wait is over", () => {
    fail();
    expect(breaker.admit()).toBeNull();
    nowMs += 99;
    expect([breaker.waitMs, breaker.admit()]).toEqual([1, null]);
    nowMs += 1;
    expect(breaker.admit()).not.toBeNull();
  });

  it("lets one ask after the wait, and all others when that one succeeded", () => {
    fail();
    nowMs += 100;
    const probe = breaker.admit()!;
    expect(breaker.admit()).toBeNull();
    probe.succeeded();
    expect([breaker.admit(), breaker.admit()]).not.toContain(null);
  });

  it("doubles the wait with every failure that follows another, up to its most", () => {
    const waits = Array.from({ length: 4 }, () => {
      fail();
      return breaker.waitMs;
    });
    expect(waits).toEqual([100, 200, 350, 350]);
  });

  it("begins with the first wait again after a success", () => {
    fail();
    fail();
    nowMs += breaker.waitMs;
    breaker.admit()!.succeeded();
    fail();
    expect(breaker.waitMs).toBe(100);
  });

  it("waits as long as the origin asks for, where that is longer", () => {
    fail(700);
    expect(breaker.waitMs).toBe(700);
    nowMs += 700;
    breaker.admit()!.failed(1);
    expect(breaker.waitMs).toBe(200);
  });

  it("counts the failures of many that asked at once as one", () => {
    const attempts = [breaker.admit()!, breaker.admit()!, breaker.admit()!];
    attempts.forEach((attempt) => attempt.failed());
    expect(breaker.waitMs).toBe(100);
  });

  it("is not closed by one that asked before it opened", () => {
    const early = breaker.admit()!;
    fail();
    early.succeeded();
    expect(breaker.waitMs).toBe(100);
  });

  it("opens for one that succeeded first and failed then", () => {
    fail();
    nowMs += 100;
    const probe = breaker.admit()!;
    probe.succeeded();
    probe.failed();
    expect(breaker.waitMs).toBe(100);
  });

  it("lets another ask when the one that may is not heard of", () => {
    fail();
    nowMs += 100;
    expect(breaker.admit()).not.toBeNull();
    nowMs += 999;
    expect(breaker.admit()).toBeNull();
    nowMs += 1;
    expect(breaker.admit()).not.toBeNull();
  });
});
