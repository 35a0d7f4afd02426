// Circuit breaker: keeps turns from an origin that just failed. Closed: everybody may ask. A failure opens it, for a wait
// that doubles with every failure that follows another. After the wait it is half open: one may ask, the others wait on;
// when that one goes well it is closed, when it fails the next wait begins. It knows numbers and a clock, nothing of HTTP.

export interface BreakerTimes {
  /** The wait after a first failure. */
  firstWaitMs: number;
  mostWaitMs: number;
  /** One that asks while it is half open and is not heard of for so long is lost: another may ask. */
  probeMs: number;
}

const defaultTimes: BreakerTimes = { firstWaitMs: 1_000, mostWaitMs: 60_000, probeMs: 45_000 };

/** Of one that may ask: to be told how it went. Asked in vain before the last failure, it has no say any more. */
export interface Attempt {
  succeeded(): void;
  /** `leastWaitMs`: it need not be asked before. `isLasting`: nor is it likely to be well by then. */
  failed(leastWaitMs?: number, isLasting?: boolean): void;
}

export class CircuitBreaker {
  readonly #now: () => number;
  readonly #times: BreakerTimes;
  /** Failures since the last success. */
  #failures = 0;
  #closedFromMs = 0;
  #isLasting = false;
  /** Counts openings: whoever asked before the last one knows nothing new. */
  #era = 0;

  constructor(now: () => number = Date.now, times: BreakerTimes = defaultTimes) {
    this.#now = now;
    this.#times = times;
  }

  /** How long nobody may ask. */
  get waitMs(): number {
    return Math.max(0, this.#closedFromMs - this.#now());
  }

  /** Whether what failed last will hardly pass by itself. */
  get isLasting(): boolean {
    return this.#isLasting;
  }

  /** Permission to ask, or null while it is open. */
  admit(): Attempt | null {
    if (this.waitMs > 0) return null;
    if (this.#failures > 0) this.#closedFromMs = this.#now() + this.#times.probeMs;
    const era = this.#era;
    const ifCurrent = (act: () => void) => {
      if (era === this.#era) act();
    };
    return {
      succeeded: () => ifCurrent(() => this.#close()),
      failed: (leastWaitMs = 0, isLasting = false) => ifCurrent(() => this.#open(leastWaitMs, isLasting)),
    };
  }

  #close(): void {
    this.#failures = 0;
    this.#closedFromMs = 0;
    this.#isLasting = false;
  }

  #open(leastWaitMs: number, isLasting: boolean): void {
    const { firstWaitMs, mostWaitMs } = this.#times;
    const waitMs = Math.max(leastWaitMs, Math.min(firstWaitMs * 2 ** this.#failures, mostWaitMs));
    this.#isLasting = isLasting;
    this.#failures += 1;
    this.#closedFromMs = this.#now() + waitMs;
    this.#era += 1;
  }
}
