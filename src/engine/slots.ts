// Slots are few: turns wait for one in the order they came.
import { GriffinError } from "../errors.ts";

export interface Slots {
  /** The address of a free slot. Throws `cancelled` when the signal is aborted first. */
  acquire(signal?: AbortSignal): Promise<number>;
  release(slotPtr: number): void;
}

/** A queue for these slots. */
export function createSlots(addresses: readonly number[]): Slots {
  const free = addresses.toReversed();
  const waiting: ((slotPtr: number) => void)[] = [];
  return {
    async acquire(signal) {
      throwIfAborted(signal);
      const slotPtr = waiting.length === 0 ? free.pop() : undefined;
      if (slotPtr !== undefined) return slotPtr;
      return new Promise((resolve, reject) => {
        const give = (slot: number) => {
          signal?.removeEventListener("abort", giveUp);
          resolve(slot);
        };
        const giveUp = () => {
          waiting.splice(waiting.indexOf(give), 1);
          reject(cancelled());
        };
        waiting.push(give);
        signal?.addEventListener("abort", giveUp, { once: true });
      });
    },
    release(slotPtr) {
      const next = waiting.shift();
      if (next) next(slotPtr);
      else free.push(slotPtr);
    },
  };
}

const cancelled = () => new GriffinError("cancelled", "The turn was cancelled before it began.");

function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw cancelled();
}
