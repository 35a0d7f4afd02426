// The turns of an object that run in this process: each in the background, in everybody's sight, charged while it runs,
// settled and told of when it is over. What a process that died had begun is taken up again.
import type { DurableObjectState } from "@cloudflare/workers-types";
import type { Alarm } from "./alarm.ts";
import { announce, wantedOf } from "./announce.ts";
import { RunningCharge, settle } from "./charges.ts";
import type { Env } from "./env.ts";
import { LiveTurn } from "./live-turn.ts";
import { countTurn } from "./metrics.ts";
import { orDamaged } from "./parts.ts";
import type { TurnOptions, TurnUsage } from "./protocol.ts";
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
    const settled = async (usage: TurnUsage | null) => this.#settled(turn, await charge.settle(usage));
    const host: TurnHost = {
      store,
      env,
      charge,
      now: Date.now,
      keepsPrefixes: keepsPrefixes(),
      ended: (view) => {
        countTurn(view);
        ctx.waitUntil(settled(view.usage));
        ctx.waitUntil(this.announce());
        console.log(turnLine(ctx.id.toString(), view));
      },
    };
    alarm.ringBy(Date.now() + recoverAfterMs);
    ctx.waitUntil(this.#askWhoWants(turn, options));
    ctx.waitUntil(
      runTurn(host, live).finally(async () => {
        this.#live.delete(turn);
        await settled(null);
        if (!options.store) await forget(turn);
      }),
    );
  }

  /** Goes on with the turns that another process began and did not end, did not settle, or did not tell of. */
  recover(): void {
    const { ctx, env, forget, store } = this.#owner;
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
      if (!this.#live.has(turn)) ctx.waitUntil(this.#settleAgain(turn));
    }
    ctx.waitUntil(this.announce());
  }

  /** Tells of turns that ended; what cannot be told now is told later. */
  async announce(): Promise<void> {
    const { env, alarm, store: current } = this.#owner;
    const store = current();
    if (store === undefined) return;
    const isDone = await announce(store.notices(), env, (turn) => {
      if (current() === store) store.handedOver(turn);
    });
    if (!isDone && current() === store) alarm.ringBy(Date.now() + recoverAfterMs);
  }

  /** Finds out, while a turn runs, whether anybody wants to be told of its end. */
  async #askWhoWants(turn: number, options: TurnOptions): Promise<void> {
    const types = await wantedOf(options, this.#owner.env);
    if (types !== undefined && this.#live.has(turn)) this.#owner.store()?.wants(turn, types);
  }

  /** Tells what a turn cost of which nobody knows whether it was told. */
  async #settleAgain(turn: number): Promise<void> {
    const { env, forget, store } = this.#owner;
    const row = orDamaged(() => store()?.turn(turn));
    // Of what is damaged nobody can tell: its place lapses.
    this.#settled(turn, !row || (await settle(row.options.chargedTo, row.usage, env)));
    await forget(turn);
  }

  /** The tenant knows what a turn cost, or is to be told again. */
  #settled(turn: number, isSettled: boolean): void {
    const { alarm, store } = this.#owner;
    if (isSettled) store()?.settled(turn);
    else if (store() !== undefined) alarm.ringBy(Date.now() + recoverAfterMs);
  }
}
