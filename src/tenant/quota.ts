// Quota: what may run within a minute and at once. Exact, never more: what a request may take is taken when it is let in,
// and given back to what it really took when it is over. Requests that run tokens and those that run none are counted apart,
// each up to the limit of requests: work in flight refuses nobody who asks how far it is, or wants it cancelled. Windows
// are the minutes of the clock. It knows numbers only; where they are kept is its owner's business.
import type { Limits, Rate, Rates } from "./protocol.ts";

const windowMs = 60_000;

/** What a request would take. */
export interface Take {
  /** null: it runs no tokens, and is not in the making. */
  tokens: number | null;
}

/** What a process that ends leaves of a window. */
export interface Counts {
  windowMs: number;
  runs: number;
  lookups: number;
  /** Tokens of work that is over. */
  used: number;
}

/** One count: of a tenant, or of one of its keys. */
export class Quota {
  #windowMs = 0;
  /** Requests that run tokens, and those that run none. */
  #runs = 0;
  #lookups = 0;
  /** Of work of this window that is over, and of what is not settled yet. */
  #used = 0;
  #taken = 0;
  #running = 0;

  /** Forgets the minutes before this time. */
  #turn(nowMs: number): void {
    const startMs = nowMs - (nowMs % windowMs);
    if (startMs <= this.#windowMs) return;
    this.#windowMs = startMs;
    this.#runs = 0;
    this.#lookups = 0;
    this.#used = 0;
    this.#taken = 0;
  }

  /** What is to be remembered of the window, besides the work that is not settled. */
  counts(nowMs: number): Counts {
    this.#turn(nowMs);
    return { windowMs: this.#windowMs, runs: this.#runs, lookups: this.#lookups, used: this.#used };
  }

  /** Goes on with what was remembered, where that is of this window. */
  restore({ windowMs: startMs, runs, lookups, used }: Counts, nowMs: number): void {
    this.#turn(nowMs);
    if (startMs !== this.#windowMs) return;
    this.#runs += runs;
    this.#lookups += lookups;
    this.#used += used;
  }

  /** Why a request is not let in, or null. */
  refusal(limits: Limits, take: Take, nowMs: number): "requests" | "tokens" | "concurrency" | null {
    this.#turn(nowMs);
    if (this.#requests(take) + 1 > (limits.requests_per_minute ?? Infinity)) return "requests";
    if (take.tokens === null) return null;
    if (this.#running + 1 > (limits.concurrency ?? Infinity)) return "concurrency";
    return this.#tokens() + take.tokens > (limits.tokens_per_minute ?? Infinity) ? "tokens" : null;
  }

  take({ tokens }: Take, nowMs: number): void {
    this.#turn(nowMs);
    if (tokens === null) {
      this.#lookups += 1;
      return;
    }
    if (nowMs >= this.#windowMs) this.#runs += 1;
    this.resume(tokens, nowMs);
  }

  /** Whether work that is let in already may take `tokens` instead of what it took at `takenMs`. */
  mayRetake(limits: Limits, taken: number, takenMs: number, tokens: number, nowMs: number): boolean {
    this.#turn(nowMs);
    const others = this.#tokens() - (takenMs >= this.#windowMs ? taken : 0);
    return others + tokens <= (limits.tokens_per_minute ?? Infinity);
  }

  /** It takes them, in this minute. */
  retake(taken: number, takenMs: number, tokens: number, nowMs: number): void {
    this.#turn(nowMs);
    this.#taken += tokens - (takenMs >= this.#windowMs ? taken : 0);
  }

  /** A request that took `taken` tokens at `takenMs` is over, and cost so many. */
  settle(taken: number, cost: number, takenMs: number, nowMs: number): void {
    this.#turn(nowMs);
    this.#running -= 1;
    if (takenMs < this.#windowMs) return;
    this.#taken -= taken;
    this.#used += cost;
  }

  /** Work that took its tokens at a time has its place, whatever the limits are. */
  resume(tokens: number, takenMs: number): void {
    this.#turn(takenMs);
    if (takenMs >= this.#windowMs) this.#taken += tokens;
    this.#running += 1;
  }

  /** What is left to requests that take as much. */
  rates(limits: Limits, take: Take, nowMs: number): Rates {
    this.#turn(nowMs);
    const resetMs = this.#windowMs + windowMs - nowMs;
    const rate = (limit: number | null, used: number): Rate | null =>
      limit === null ? null : { limit, remaining: Math.max(limit - used, 0), resetMs: used > 0 ? resetMs : 0 };
    return {
      requests: rate(limits.requests_per_minute, this.#requests(take)),
      tokens: rate(limits.tokens_per_minute, this.#tokens()),
    };
  }

  #tokens = (): number => this.#used + this.#taken;
  #requests = ({ tokens }: Take): number => (tokens === null ? this.#lookups : this.#runs);
}

/** How long until a refused request may be let in. */
export const retryAfterMs = (what: "requests" | "tokens" | "concurrency", nowMs: number): number =>
  what === "concurrency" ? 1_000 : windowMs - (nowMs % windowMs);

const less = (a: Rate | null, b: Rate | null) => (a === null || (b !== null && b.remaining < a.remaining) ? b : a);

/** The one of two that leaves less. */
export function tighter(a: Rates, b: Rates): Rates {
  return { requests: less(a.requests, b.requests), tokens: less(a.tokens, b.tokens) };
}
