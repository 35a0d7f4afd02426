// The one alarm of an object. Whoever needs it says by when; it only ever moves closer, or an object that is asked
// again and again would never hear it. Who needs it after it rang says so again.
import type { DurableObjectState } from "@cloudflare/workers-types";

export class Alarm {
  readonly #ctx: DurableObjectState;
  /** 0: not set. */
  #timeMs = 0;

  constructor(ctx: DurableObjectState) {
    this.#ctx = ctx;
  }

  /** Finds out what an earlier process set. Before that nothing may be asked of it. */
  async load(): Promise<void> {
    this.#timeMs = (await this.#ctx.storage.getAlarm()) ?? 0;
  }

  /** Sees to it that it rings at this time, or before. Stored together with what else is written without a pause. */
  ringBy(timeMs: number): void {
    if (this.#timeMs > Date.now() && this.#timeMs <= timeMs) return;
    this.#timeMs = timeMs;
    this.#ctx.waitUntil(this.#ctx.storage.setAlarm(timeMs));
  }

  /** It rang, or went with everything else that was stored. */
  isGone(): void {
    this.#timeMs = 0;
  }
}
