import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { noLimits, type Limits } from "../../src/tenant/protocol.ts";
import { Quota, retryAfterMs, tighter } from "../../src/tenant/quota.ts";

const minute = 60_000;
const start = 1_000 * minute;
const limits = (some: Partial<Limits>): Limits => ({ ...noLimits, ...some });

describe("a quota", () => {
  it("lets in as many requests a minute as it may, and as many again in the next", () => {
    const quota = new Quota();
    const three = limits({ requests_per_minute: 3 });
    const ask = (nowMs: number) => {
      const why = quota.refusal(three, { tokens: null }, nowMs);
      if (why === null) quota.take({ tokens: null }, nowMs);
      return why;
    };
    const late = start + minute - 1;
    expect([ask(start), ask(start + 1), ask(late), ask(late)]).toEqual([null, null, null, "requests"]);
    expect(quota.rates(three, { tokens: null }, late).requests).toEqual({ limit: 3, remaining: 0, resetMs: 1 });
    expect(retryAfterMs("requests", late)).toBe(1);
    expect(ask(start + minute)).toBeNull();
    const { requests } = quota.rates(three, { tokens: null }, start + minute);
    expect(requests).toEqual({ limit: 3, remaining: 2, resetMs: minute });
  });

  it("counts what runs tokens and what runs none apart: neither refuses the other", () => {
    const quota = new Quota();
    const two = limits({ requests_per_minute: 2 });
    const ask = (tokens: number | null) => {
      const why = quota.refusal(two, { tokens }, start);
      if (why === null) quota.take({ tokens }, start);
      return why;
    };
    expect([ask(1), ask(1), ask(1)]).toEqual([null, null, "requests"]);
    expect(quota.rates(two, { tokens: null }, start).requests).toMatchObject({ remaining: 2 });
    expect([ask(null), ask(null), ask(null)]).toEqual([null, null, "requests"]);
    expect(quota.rates(two, { tokens: 1 }, start).requests).toMatchObject({ remaining: 0 });
  });

  it("never has more tokens taken or used in a minute, or more at once, than it may, whatever ends when", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("ask" as const), tokens: fc.integer({ min: 0, max: 60 }) }),
      fc.record({ kind: fc.constant("end" as const), which: fc.nat(20), used: fc.integer({ min: 0, max: 100 }) }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(40_000) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const quota = new Quota();
        const limited = limits({ tokens_per_minute: 100, concurrency: 3 });
        const running: { tokens: number; takenMs: number }[] = [];
        let nowMs = start;
        // What was let in since the minute began: taken while it runs, used when it is over.
        let counted = 0;
        let windowMs = start;
        for (const each of steps) {
          if (each.kind === "wait") nowMs += each.ms;
          const beginning = nowMs - (nowMs % minute);
          if (beginning !== windowMs) [windowMs, counted] = [beginning, 0];
          if (each.kind === "ask" && quota.refusal(limited, each, nowMs) === null) {
            quota.take(each, nowMs);
            running.push({ tokens: each.tokens, takenMs: nowMs });
            counted += each.tokens;
          } else if (each.kind === "end" && running.length > 0) {
            const [ended] = running.splice(each.which % running.length, 1);
            const { tokens, takenMs } = ended!;
            const used = Math.min(each.used, tokens);
            quota.settle(tokens, used, takenMs, nowMs);
            if (takenMs >= windowMs) counted += used - tokens;
          }
          expect(counted).toBeLessThanOrEqual(100);
          expect(running.length).toBeLessThanOrEqual(3);
          expect(quota.rates(limited, each.kind === "ask" ? each : { tokens: null }, nowMs).tokens?.remaining).toBe(
            100 - counted,
          );
        }
      }),
      { seed: 9 },
    );
  });

  it("beside another tells of what is less", () => {
    const rate = (remaining: number) => ({ limit: 9, remaining, resetMs: 0 });
    const none = { requests: null, tokens: null };
    expect(tighter({ requests: rate(3), tokens: null }, { requests: rate(2), tokens: rate(1) })).toEqual({
      requests: rate(2),
      tokens: rate(1),
    });
    expect(tighter({ requests: rate(3), tokens: rate(4) }, none)).toEqual({ requests: rate(3), tokens: rate(4) });
  });
});
