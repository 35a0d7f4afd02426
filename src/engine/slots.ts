// Slots are few: turns wait for one in the order they came. A slot is lent, not given: whoever is not heard of for long
// while others wait has lost it, because in a shared isolate the owner of a turn can vanish without a word. For the same
// reason those who wait look for themselves instead of being called.
import { GriffinError } from "../errors.ts";

/** A slot on loan. */
export interface Lease {
  readonly slotPtr: number;
  /** To be called before each use. Throws `internal` when the slot was lent to another in the meantime. */
  renew(): void;
  /** True until the slot is given back or lost. */
  isHeld(): boolean;
  release(): void;
}

export interface Slots {
  /** True when a turn has or wants a slot. Who is not heard of for long does not count. */
  isBusy(): boolean;
  /** True when more than one does. */
  isShared(): boolean;
  /** A free slot, in turn. Throws `cancelled` when the signal is aborted first. */
  acquire(signal?: AbortSignal): Promise<Lease>;
}

export interface SlotTimes {
  /** A lease that was not renewed for this long is lost to those who wait. */
  leaseMs: number;
  /** How often those who wait look. One that did not look for 100 times this long has gone. */
  pollMs: number;
}

const defaultTimes: SlotTimes = { leaseMs: 60_000, pollMs: 5 };

interface Loan {
  seenMs: number;
}

/** Those who wait, in order of asking: number → when it last looked. */
type Queue = Map<number, number>;

/** A queue for the slots at these addresses. `clear` is called for each slot that is given back or whose owner is lost. */
export function createSlots(
  addresses: readonly number[],
  clear: (slotPtr: number) => void,
  { leaseMs, pollMs }: SlotTimes = defaultTimes,
): Slots {
  const loans = new Map<number, Loan | null>(addresses.map((address) => [address, null]));
  const waiting: Queue = new Map();
  let asked = 0;
  const hasGone = (lookedMs: number) => lookedMs + 100 * pollMs < Date.now();

  const isWaited = () => [...waiting.values()].some((lookedMs) => !hasGone(lookedMs));
  const isSilent = ({ seenMs }: Loan) => seenMs + leaseMs < Date.now();
  const lentCount = () => [...loans.values()].filter((loan) => loan !== null && !isSilent(loan)).length;
  const free = (slotPtr: number) => {
    loans.set(slotPtr, null);
    clear(slotPtr);
  };
  const reclaim = () => {
    for (const [slotPtr, loan] of loans) if (loan !== null && isSilent(loan)) free(slotPtr);
    for (const [ticket, lookedMs] of waiting) if (lookedMs + leaseMs < Date.now()) waiting.delete(ticket);
  };
  const lend = (slotPtr: number): Lease => {
    const loan: Loan = { seenMs: Date.now() };
    loans.set(slotPtr, loan);
    const isHeld = () => loans.get(slotPtr) === loan;
    return {
      slotPtr,
      isHeld,
      renew() {
        if (!isHeld()) throw new GriffinError("internal", "The turn was not read for so long that it lost its slot.");
        loan.seenMs = Date.now();
      },
      release() {
        if (isHeld()) free(slotPtr);
      },
    };
  };

  return {
    isBusy: () => isWaited() || lentCount() > 0,
    isShared: () => isWaited() || lentCount() > 1,
    async acquire(signal) {
      const ticket = asked++;
      try {
        for (;;) {
          if (signal?.aborted) throw new GriffinError("cancelled", "The turn was cancelled before it began.");
          waiting.set(ticket, Date.now());
          reclaim();
          const available = [...loans].find(([, loan]) => loan === null);
          // One that seems to have gone is passed over and keeps its place: it may only have been held up.
          const isNext = ![...waiting].some(([other, lookedMs]) => other < ticket && !hasGone(lookedMs));
          if (available !== undefined && isNext) return lend(available[0]);
          await new Promise((resolve) => void setTimeout(resolve, pollMs));
        }
      } finally {
        waiting.delete(ticket);
      }
    },
  };
}
