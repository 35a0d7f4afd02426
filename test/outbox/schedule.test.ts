// When webhooks are tried again.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { delaysMs, jitter, mostWaitMs, nextAttemptMs, waitOf } from "../../src/outbox/schedule.ts";

const seed = { seed: 4711 };
const fraction = fc.double({ min: 0, max: 1, noNaN: true });
const wait = fc.option(fc.integer({ min: 0, max: 10 * mostWaitMs }));

describe("the schedule", () => {
  it("is that of Standard Webhooks", () => {
    const hours = delaysMs.map((ms) => ms / 3_600_000);
    expect(hours).toEqual([0, 5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]);
  });

  it("waits as long as it says after each failure, a tenth more or less, and ends after ten attempts", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), fraction, (failed, random) => {
        const next = nextAttemptMs(failed, 1_000, random, null);
        const delayMs = delaysMs[failed];
        if (delayMs === undefined) return void expect(next).toBeNull();
        expect(failed).toBeLessThan(10);
        expect(Math.abs((next ?? 0) - 1_000 - delayMs)).toBeLessThanOrEqual(delayMs * jitter + 1);
      }),
      seed,
    );
    expect(nextAttemptMs(4, 0, 0, null)).not.toBe(nextAttemptMs(4, 0, 1, null));
  });

  it("never comes before the receiver asked for, but for a day, nor before the schedule", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 9 }), fraction, wait, (failed, random, waitMs) => {
        const next = nextAttemptMs(failed, 5, random, waitMs) ?? 0;
        const plain = nextAttemptMs(failed, 5, random, null) ?? 0;
        expect(next).toBe(Math.max(plain, 5 + Math.min(waitMs ?? 0, mostWaitMs)));
      }),
      seed,
    );
  });
});

describe("retry-after", () => {
  const nowMs = Date.UTC(2026, 10, 26, 12);
  it.each([
    ["120", 120_000],
    [" 0 ", 0],
    ["Thu, 26 Nov 2026 12:01:00 GMT", 60_000],
    ["Thursday, 26-Nov-26 12:01:00 GMT", 60_000],
    ["Thu, 26 Nov 2026 11:00:00 GMT", 0],
    [null, null],
    ["", null],
    ["-5", null],
    ["1e3", null],
    ["1.5", null],
    ["soon", null],
    ["2026", 2_026_000],
    ["99999999999999999999", null],
    ["Nov 27 2026", null],
  ])("%j asks for %j ms", (header, waitMs) => expect(waitOf(header, nowMs)).toBe(waitMs));
});
