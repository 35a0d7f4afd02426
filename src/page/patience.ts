// What to do while the server cannot be reached: wait a little longer each time, go on at once when the network is back.
import { isLost } from "./api.ts";

const firstDelayMs = 500;
const longestDelayMs = 15_000;

/** Told when the connection is lost, with the wait before the next try, and when it is back. */
export type OnConnection = (lost: { delayMs: number } | null) => void;

/** Waits between tries. */
export class Patience {
  readonly #signal: AbortSignal;
  readonly #onConnection: OnConnection;
  #tries = 0;
  #isLost = false;

  constructor(signal: AbortSignal, onConnection: OnConnection) {
    this.#signal = signal;
    this.#onConnection = onConnection;
  }

  /** The server answers. */
  reached(): void {
    if (this.#isLost) this.#onConnection(null);
    this.#isLost = false;
  }

  /** It said something new: the next loss begins with a short wait again. */
  heard(): void {
    this.reached();
    this.#tries = 0;
  }

  /** Returns when it is time to try again; rethrows what is no lost connection. */
  async wait(error: unknown): Promise<void> {
    if (this.#signal.aborted || !isLost(error)) throw error;
    const delayMs = Math.min(firstDelayMs * 2 ** this.#tries, longestDelayMs);
    this.#tries += 1;
    this.#isLost = true;
    this.#onConnection({ delayMs });
    await pause(delayMs, this.#signal);
    this.#signal.throwIfAborted();
  }
}

/** Repeats a call until the server answers. */
export async function persist<T>(
  signal: AbortSignal,
  onConnection: OnConnection,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const patience = new Patience(signal, onConnection);
  for (;;) {
    try {
      const value = await act(signal);
      patience.heard();
      return value;
    } catch (error) {
      await patience.wait(error);
    }
  }
}

/** Ends every pause now. */
export const hurry = new EventTarget();

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    window.addEventListener("online", end, { signal: over.signal });
    hurry.addEventListener("now", end, { signal: over.signal });
    signal.addEventListener("abort", end, { signal: over.signal });
  });
}
