// WebhookEndpoint: the Durable Object that tells one address of events. Each address has its own, so that a slow or dead
// one delays no other. What is to be told is stored before anybody is answered; a process that dies leaves it due, and the
// alarm tells it again: at least once, in no promised order.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { GriffinError } from "../errors.ts";
import { isTaken, tell } from "./attempt.ts";
import { Deliveries, mostFinished, type Due } from "./deliveries.ts";
import { registryOf, type OutboxEnv } from "./env.ts";
import { payloadOf, type WebhookEvent } from "./events.ts";
import type { Attempt, DeliveryListing, DeliveryView, DisabledReason, Owner, ReplayRange, Target } from "./protocol.ts";
import { nextAttemptMs } from "./schedule.ts";

/** So many at once: an object of the hosted runtime may have six connections. */
export const mostAtOnce = 6;
/** While something is told the alarm rings this often: it finds what a process that died did not end. */
const recoverAfterMs = 10_000;
/** So long after the registry could not be asked, it is asked again. */
const askAgainMs = 5_000;
const dayMs = 24 * 3_600_000;
/** An endpoint that took nothing for so long, and an event to its last attempt, is told nothing more. */
export const mostSilenceMs = 5 * dayMs;
/** What was finished is in the log for so long; of an address that was named for one event, as long as in a hook's log. */
const logMs = 30 * dayMs;
const logOfOnceMs = 7 * dayMs;

const isEndpoint = ({ to }: Owner): boolean => "endpoint" in to;
/** How long what was finished is kept of an owner's. */
const logOf = (owner: Owner): number => (isEndpoint(owner) ? logMs : logOfOnceMs);
const logIn = (storage: DurableObjectState["storage"], owner: Owner) =>
  new Deliveries(storage, { isReplayed: isEndpoint(owner) });

const ownerKey = "owner";

export class WebhookEndpoint extends DurableObject<OutboxEnv> {
  /** Both undefined: nothing is stored here. */
  #owner: Owner | undefined;
  #deliveries: Deliveries | undefined;
  /** Events that are being told. */
  readonly #running = new Set<string>();
  /** 0: not known. */
  #alarmMs = 0;

  constructor(ctx: DurableObjectState, env: OutboxEnv) {
    super(ctx, env);
    this.#owner = ctx.storage.kv.get<Owner>(ownerKey);
    if (this.#owner !== undefined) this.#deliveries = logIn(ctx.storage, this.#owner);
  }

  /** Stores an event that its address is to be told of. The same one again changes nothing. */
  accept(owner: Owner, event: WebhookEvent): void {
    this.#opened(owner).add(event, Date.now());
    this.#tellDue();
  }

  /** Tells an event once, now, and says what came of it. The runtime keeps the name `test` for itself. */
  async tryOut(owner: Owner, event: WebhookEvent): Promise<Attempt> {
    this.#opened(owner).add(event, null);
    const target = await this.#target();
    if (target === null) throw new GriffinError("not_found", "There is no such endpoint.");
    const { attempt } = await tell(target, { id: event.id, body: payloadOf(event) }, this.env);
    const made = { event: event.id, dueMs: null, attempt };
    if (isTaken(attempt)) this.#deliveries?.delivered(made, Date.now());
    else this.#deliveries?.failed(made, null, Date.now());
    // It may be the first that this process hears of the address: something may have been due for long.
    this.#tellDue();
    return attempt;
  }

  list(listing: DeliveryListing): { deliveries: DeliveryView[]; isLast: boolean } {
    return this.#deliveries?.list(listing) ?? { deliveries: [], isLast: true };
  }

  /** Tells an event anew. Throws `not_found`. */
  replay(event: string): DeliveryView {
    if (this.#deliveries === undefined) throw new GriffinError("not_found", "There is no such event here.");
    this.#deliveries.replay(event, Date.now());
    this.#tellDue();
    return this.#deliveries.view(event);
  }

  /** Tells all events of a time anew, and says how many those are. */
  replayAll(range: ReplayRange): number {
    const count = this.#deliveries?.replayAll(range, Date.now()) ?? 0;
    this.#tellDue();
    return count;
  }

  /** Deletes everything. */
  async remove(): Promise<void> {
    this.#owner = undefined;
    this.#deliveries = undefined;
    this.#alarmMs = 0;
    await this.ctx.storage.deleteAll();
  }

  override async alarm(): Promise<void> {
    this.#alarmMs = 0;
    if (this.#owner === undefined || this.#deliveries === undefined) return;
    const left = this.#deliveries.prune(Date.now() - logOf(this.#owner), mostFinished);
    // What is left of an endpoint that was deleted goes as well.
    if (left === 0 || (await this.#isGone())) return this.remove();
    this.#tellDue();
  }

  /** Begins to tell what is due, as far as connections are left. */
  #tellDue(): void {
    for (const due of this.#deliveries?.due(Date.now(), mostAtOnce) ?? []) {
      if (this.#running.size >= mostAtOnce) break;
      if (this.#running.has(due.event)) continue;
      this.#running.add(due.event);
      const ended = () => {
        this.#running.delete(due.event);
        this.#tellDue();
      };
      this.ctx.waitUntil(this.#tell(due).then(ended, ended));
    }
    this.#ring();
  }

  /** One attempt, and what follows from it. */
  async #tell({ event, body, tries, due_ms: dueMs }: Due): Promise<void> {
    const target = await this.#target().catch(() => undefined);
    if (target === undefined) return this.#deliveries?.postpone(event, Date.now() + askAgainMs);
    if (target === null) return this.remove();
    if (target.isDisabled) return this.#deliveries?.giveUp(Date.now());

    const { attempt, waitMs } = await tell(target, { id: event, body }, this.env);
    const nowMs = Date.now();
    // undefined: it was removed meanwhile.
    const deliveries = this.#deliveries;
    const made = { event, dueMs, attempt };
    if (isTaken(attempt)) return deliveries?.delivered(made, nowMs);
    const isGone = attempt.status === 410;
    const nextMs = isGone ? null : nextAttemptMs(tries + 1, nowMs, Math.random(), waitMs);
    deliveries?.failed(made, nextMs, nowMs);
    if (isGone) return this.#disable("gone");
    const silentSinceMs = Math.max(deliveries?.lastDeliveredMs() ?? 0, target.sinceMs);
    if (nextMs === null && nowMs - silentSinceMs >= mostSilenceMs) return this.#disable("failing");
  }

  /** Where events go, as the registry knows it now; null where there is no such endpoint any more. */
  async #target(): Promise<Target | null> {
    if (this.#owner === undefined) return null;
    const { registry, to } = this.#owner;
    const stub = registryOf(this.env, registry);
    if ("endpoint" in to) return stub.target(to.endpoint);
    const secrets = await stub.signingSecrets();
    // They go with their tenant alone.
    return secrets.length === 0 ? null : { url: to.url, secrets, isDisabled: false, sinceMs: Date.now() };
  }

  async #isGone(): Promise<boolean> {
    return (await this.#target().catch(() => undefined)) === null;
  }

  /** Tells nothing more, and says so to the registry. */
  async #disable(reason: DisabledReason): Promise<void> {
    const { registry, to } = this.#owner ?? {};
    if (registry === undefined || to === undefined) return;
    if ("endpoint" in to) await registryOf(this.env, registry).disable(to.endpoint, reason);
    this.#deliveries?.giveUp(Date.now());
  }

  /** Sees to it that the alarm rings when there is something to do: at once for what a dead process leaves behind. */
  #ring(): void {
    if (this.#owner === undefined || this.#deliveries === undefined) return;
    const nowMs = Date.now();
    const overdueMs = this.#running.size > 0 ? nowMs + recoverAfterMs : nowMs;
    const isOverdue = this.#running.size > 0 || this.#deliveries.due(nowMs, 1).length > 0;
    const dueMs = Math.min(isOverdue ? overdueMs : Infinity, this.#deliveries.nextDueMs(nowMs) ?? Infinity);
    const atMs = dueMs < Infinity ? dueMs : this.#pruneMs(this.#deliveries, this.#owner, nowMs);
    if (atMs === Infinity || (this.#alarmMs > nowMs && this.#alarmMs <= atMs)) return;
    this.#alarmMs = atMs;
    this.ctx.waitUntil(this.ctx.storage.setAlarm(atMs));
  }

  /** When something of the log will have been there long enough. */
  #pruneMs(deliveries: Deliveries, owner: Owner, nowMs: number): number {
    const finishedMs = deliveries.firstFinishedMs();
    return finishedMs === null ? Infinity : Math.max(finishedMs + logOf(owner), nowMs) + 1;
  }

  #opened(owner: Owner): Deliveries {
    if (this.#owner === undefined) this.ctx.storage.kv.put(ownerKey, owner);
    this.#owner ??= owner;
    return (this.#deliveries ??= logIn(this.ctx.storage, this.#owner));
  }
}
