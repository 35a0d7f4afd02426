// The turns of an object that run in this process: each in the background, in everybody's sight, charged while it runs,
// settled and told of when it is over. What a process that died had begun is taken up again.
import type { DurableObjectState } from "@cloudflare/workers-types";
import type { Alarm } from "./alarm.ts";
import { announce, leftEnds, tell, tellLeft } from "./announce.ts";
import { RunningCharge, settle } from "./charges.ts";
import type { Env } from "./env.ts";
import { LiveTurn } from "./live-turn.ts";
import { countTurn } from "./metrics.ts";
import type { TurnUsage } from "./protocol.ts";
import { runTurn, type TurnHost } from "./run-turn.ts";
import type { Store } from "./store.ts";
import { turnLine } from "./turn-log.ts";
import { startedEvent, turnRow } from "./view.ts";

/** If the process dies, an alarm this much later finds what it left. */
export const recoverAfterMs = 10_000;

/** The object whose turns they are. */
export interface TurnsOwner {
  ctx: DurableObjectState;
  env: Env;
  alarm: Alarm;
  /** What it keeps; undefined where that is nothing, or not any more. */
  store(): Store | undefined;
  /** Whether turns are to be found by their texts. */
  keepsPrefixes(): boolean;
  /** Leaves nothing of a turn that was not to be kept. */
  forget(turn: number): Promise<void> | undefined;
}

export class RunningTurns {
  readonly #owner: TurnsOwner;
  readonly #live = new Map<number, LiveTurn>();

  constructor(owner: TurnsOwner) {
    this.#owner = owner;
  }

  get(turn: number): LiveTurn | undefined {
    return this.#live.get(turn);
  }

  all(): LiveTurn[] {
    return [...this.#live.values()];
  }

  /** Lets a stored turn run. `isOld`: a process that died had begun it. */
  run(store: Store, turn: number, endsWithClient: boolean, isOld = false): void {
    const { ctx, env, alarm, keepsPrefixes, forget } = this.#owner;
    const live = new LiveTurn(turn, endsWithClient);
    live.add(startedEvent(turnRow(store, turn)));
    this.#live.set(turn, live);
    const { options } = turnRow(store, turn);
    const charge = new RunningCharge(options.chargedTo, env, isOld);
    let concluded: Promise<void> | undefined;
    const conclude = (usage: TurnUsage | null) => (concluded ??= this.#conclude(turn, charge.settle(usage)));
    const host: TurnHost = {
      store,
      env,
      charge,
      now: Date.now,
      keepsPrefixes: keepsPrefixes(),
      ended: (view) => {
        countTurn(view);
        ctx.waitUntil(conclude(view.usage));
        console.log(turnLine(ctx.id.toString(), view));
      },
    };
    alarm.ringBy(Date.now() + recoverAfterMs);
    ctx.waitUntil(
      runTurn(host, live).finally(async () => {
        this.#live.delete(turn);
        await conclude(null);
        if (!options.store) await forget(turn);
      }),
    );
  }

  /** Goes on with the turns that another process began and did not end, or with whose end it did not come to an end. */
  recover(): void {
    const { alarm, ctx, env, forget, store } = this.#owner;
    for (const turn of store()?.unfinishedTurns() ?? []) {
      const kept = store();
      if (kept === undefined || this.#live.has(turn)) continue;
      try {
        const options = kept.turn(turn)?.options;
        if (options?.store === false) {
          // Whoever asked for it is gone, and cannot come back for it.
          ctx.waitUntil(settle(options.chargedTo, null, env));
          ctx.waitUntil(Promise.resolve(forget(turn)));
          continue;
        }
        // Whoever asked for it may come back for it, so it no longer ends with its client.
        this.run(kept, turn, false, true);
      } catch {
        const message = "What this response was asked is damaged in storage.";
        kept.fail(turn, { code: "data_damaged", message }, Date.now());
      }
    }
    for (const turn of store()?.unsettledTurns() ?? []) {
      // Should this process die of it, the next one goes on.
      alarm.ringBy(Date.now() + recoverAfterMs);
      if (!this.#live.has(turn)) ctx.waitUntil(this.#concludeAgain(turn));
    }
    if (leftEnds(ctx.storage).length === 0) return;
    alarm.ringBy(Date.now() + recoverAfterMs);
    ctx.waitUntil(tellLeft(ctx.storage, env));
  }

  /** Tells all who are to know that a turn ended; who cannot be told now is told later. */
  async #conclude(turn: number, settled: Promise<boolean>): Promise<void> {
    const store = this.#owner.store();
    const announced = announce(store?.end(turn)?.notice ?? null, this.#owner.env);
    this.#concluded(turn, store, (await settled) && (await announced));
  }

  /** The same of a turn of which nobody knows whether it was done. */
  async #concludeAgain(turn: number): Promise<void> {
    const { env, forget, store: current } = this.#owner;
    const store = current();
    const end = store?.end(turn);
    this.#concluded(turn, store, end === undefined || (await tell(end, env)));
    await forget(turn);
  }

  #concluded(turn: number, store: Store | undefined, isDone: boolean): void {
    const { alarm, store: current } = this.#owner;
    if (store === undefined || current() !== store) return;
    if (isDone) store.settled(turn);
    else alarm.ringBy(Date.now() + recoverAfterMs);
  }
}
