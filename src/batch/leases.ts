// Leases: which stretches are on their way or in somebody's hands, in memory. A message that is lost, a consumer that
// died: both are told by silence, and the stretch is sent again. An object that wakes knows of none and sends all again;
// whoever comes for work that another has begun gets none.

/** Consumers speak this often while they run, */
export const speakEveryMs = 15_000;
/** and after so long a silence somebody else may run the stretch. */
export const leaseMs = 4 * speakEveryMs;
/** A queue may be long; a message too many costs little. */
export const lostAfterMs = 5 * 60_000;
/** Stretches of a batch that are on their way at once: one batch does not fill the queue for the others. */
export const mostUnderway = 32;

interface Lease {
  untilMs: number;
  /** null: sent, but nobody has come for it. */
  firstLine: number | null;
}

export class Leases {
  readonly #leases = new Map<number, Lease>();
  #pausedUntilMs = 0;

  /** Until then nothing is to run; 0 where nothing holds it up. */
  pausedUntilMs(nowMs: number): number {
    return this.#pausedUntilMs > nowMs ? this.#pausedUntilMs : 0;
  }

  pause(untilMs: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, untilMs);
  }

  /** Which of the stretches to send now. They count as sent. */
  send(unfinished: Iterable<number>, nowMs: number): number[] {
    if (this.pausedUntilMs(nowMs) > 0) return [];
    for (const [stretch, { untilMs }] of this.#leases) if (untilMs <= nowMs) this.#leases.delete(stretch);
    const sent: number[] = [];
    for (const stretch of unfinished) {
      if (this.#leases.size >= mostUnderway) break;
      if (this.#leases.has(stretch)) continue;
      this.#leases.set(stretch, { untilMs: nowMs + lostAfterMs, firstLine: null });
      sent.push(stretch);
    }
    return sent;
  }

  /** Somebody has come for a stretch, the first of whose lines is this; false where another runs it. */
  take(stretch: number, firstLine: number, nowMs: number): boolean {
    if (this.#isTaken(stretch, nowMs)) return false;
    this.#leases.set(stretch, { untilMs: nowMs + leaseMs, firstLine });
    return true;
  }

  /** Whoever runs a stretch has spoken; an object that woke in the meantime learns of it by that. */
  renew(stretch: number, firstLine: number | null, nowMs: number): void {
    const known = this.#leases.get(stretch)?.firstLine ?? firstLine;
    if (known !== null) this.#leases.set(stretch, { untilMs: nowMs + leaseMs, firstLine: known });
  }

  /** Nobody has a stretch any more. */
  drop(stretch: number): void {
    this.#leases.delete(stretch);
  }

  /** The line that a stretch was taken from; null where nobody has it. */
  firstLine(stretch: number): number | null {
    return this.#leases.get(stretch)?.firstLine ?? null;
  }

  /** Whether anything runs. */
  isBusy(nowMs: number): boolean {
    return [...this.#leases.keys()].some((stretch) => this.#isTaken(stretch, nowMs));
  }

  #isTaken(stretch: number, nowMs: number): boolean {
    const lease = this.#leases.get(stretch);
    return lease !== undefined && lease.firstLine !== null && lease.untilMs > nowMs;
  }
}
