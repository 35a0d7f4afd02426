// Hook: the Durable Object of one hook, an address that turns signed posts of a service into turns. It knows by whom posts
// must be signed and which came before, stores what is to be said before anybody is answered, has the turns run, those of
// a conversation one after another, and gives their replies to the objects that deliver webhooks. A process that dies
// leaves all of it due, and the alarm goes on.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { Alarm } from "../conversation/alarm.ts";
import { formatId, hashedName } from "../conversation/names.ts";
import type { TurnView } from "../conversation/protocol.ts";
import { GriffinError } from "../errors.ts";
import { isDevelopment, onceOf, registryOf } from "../outbox/env.ts";
import type { SigningSecretView } from "../outbox/protocol.ts";
import { validSecrets, type Secret } from "../outbox/signing.ts";
import { Deliveries, type Open } from "./deliveries.ts";
import { replyRegistryName, type InboxEnv } from "./env.ts";
import { challengeOf, namesOf, payloadOf, type DeliveryNames, type Payload } from "./payload.ts";
import type {
  DeliveryListing,
  DeliveryView,
  HookSettings,
  HookView,
  NewHook,
  Post,
  Receipt,
  ReplyTo,
  Verification,
} from "./protocol.ts";
import { replyEventId, replyOf, slackAddress } from "./reply.ts";
import { isSigned, mostSecrets } from "./signatures.ts";
import { mostInputCharacters, mostKeyCharacters, render } from "./templates.ts";
import { closedReason, runDelivery, type Outcome } from "./turn.ts";

/** Turns of a hook that run side by side. */
export const mostAtOnce = 4;
/** Posts that may wait. */
export const mostOpen = 1_000;
const fullMs = 30_000;
/** The waits after attempts that failed, or that a process died of. One more, and the delivery is given up. */
export const strikeWaitsMs: readonly number[] = [10_000, 60_000, 300_000, 900_000];
export const mostStrikes = strikeWaitsMs.length + 1;
/** Where something is taken for long, it is looked at more seldom: after an eighth of the time, but so often. */
const mostPauseMs = 60_000;
/** While something runs the alarm rings this often: it finds what a process that died did not end. */
const recoverAfterMs = 10_000;
const dayMs = 24 * 3_600_000;
/** What could not begin for so long is given up. */
const mostWaitMs = dayMs;
/** Deliveries are known again, and in the log, for so long. GitHub signs no time, so what is old is as good as new. */
const keepMs: Readonly<Record<Verification, number>> = { standard: 7 * dayMs, slack: 7 * dayMs, github: 90 * dayMs };

const hookKey = "hook";

interface Stored extends Omit<NewHook, "secret"> {
  /** The newest first. */
  secrets: Secret[];
  createdMs: number;
  updatedMs: number;
}

export class Hook extends DurableObject<InboxEnv> {
  readonly #alarm: Alarm;
  /** undefined: there is no such hook. */
  #hook: Stored | undefined;
  #deliveries: Deliveries | undefined;
  /** Deliveries that are being worked on. */
  readonly #running = new Set<number>();

  constructor(ctx: DurableObjectState, env: InboxEnv) {
    super(ctx, env);
    this.#alarm = new Alarm(ctx);
    this.#hook = ctx.storage.kv.get<Stored>(hookKey);
    if (this.#hook !== undefined) this.#deliveries = new Deliveries(ctx.storage);
    void ctx.blockConcurrencyWhile(async () => {
      await this.#alarm.load();
    });
  }

  /** Makes the hook; `signingSecret`: what signs its replies to a callback, null where it has none. */
  async create({ secret, ...hook }: NewHook): Promise<{ view: HookView; signingSecret: string | null }> {
    const nowMs = Date.now();
    const signingSecret = await this.#signs(hook);
    this.#write({ ...hook, secrets: [{ secret, untilMs: null }], createdMs: nowMs, updatedMs: nowMs });
    this.#deliveries = new Deliveries(this.ctx.storage);
    return { view: await this.view(hook.tenant), signingSecret };
  }

  /** Throws `not_found`, for other tenants as well. */
  async view(tenant: string): Promise<HookView> {
    const { secrets, tenant: _, key, ...hook } = this.#known(tenant);
    const [newest] = secrets;
    const [previous] = goodSecrets(secrets, Date.now()).slice(1);
    return {
      ...hook,
      secretHint: hintOf(newest?.secret ?? ""),
      previousUntilMs: previous?.untilMs ?? null,
      closed: await closedReason({ tenant, key }, this.env),
      signing: hook.replyTo.type === "callback" ? await this.#signing(hook.id) : null,
    };
  }

  /** Changes what is told; `signingSecret`: it has a callback now, and had none. Throws `not_found`. */
  async update(
    tenant: string,
    change: Partial<HookSettings>,
  ): Promise<{ view: HookView; signingSecret: string | null }> {
    const known = this.#known(tenant);
    const signingSecret = await this.#signs({ ...known, ...change }, known.replyTo);
    this.#write({ ...this.#known(tenant), ...change, updatedMs: Date.now() });
    return { view: await this.view(tenant), signingSecret };
  }

  /** Another secret of the service; the one before is good for some time more. Throws `not_found`. */
  async rotate(tenant: string, secret: string, graceMs: number): Promise<HookView> {
    const known = this.#known(tenant);
    const nowMs = Date.now();
    const [newest] = known.secrets;
    const previous = newest === undefined || graceMs <= 0 ? [] : [{ ...newest, untilMs: nowMs + graceMs }];
    this.#write({ ...known, secrets: [{ secret, untilMs: null }, ...previous], updatedMs: nowMs });
    return this.view(tenant);
  }

  /** Another secret that signs replies; the one before signs for some time more. Throws `not_found`, `invalid_argument`. */
  async rotateSigning(tenant: string, graceMs: number): Promise<{ view: HookView; signingSecret: string }> {
    const { id, replyTo } = this.#known(tenant);
    if (replyTo.type !== "callback")
      throw new GriffinError("invalid_argument", "This hook has no callback to sign for.");
    const { secret } = await registryOf(this.env, replyRegistryName(id)).rotateSigningSecret(graceMs);
    return { view: await this.view(tenant), signingSecret: secret };
  }

  /** The newest first. Throws `not_found`. */
  list(tenant: string, listing: DeliveryListing): { deliveries: DeliveryView[]; isLast: boolean } {
    this.#known(tenant);
    return this.#deliveries?.list(listing) ?? { deliveries: [], isLast: true };
  }

  /** Deletes the hook, its secrets and its log. Turns that run go on: they are their conversations'. Throws `not_found`. */
  async remove(tenant: string): Promise<void> {
    const { id } = this.#known(tenant);
    await registryOf(this.env, replyRegistryName(id)).removeAll();
    this.#hook = undefined;
    this.#deliveries = undefined;
    this.#alarm.isGone();
    await this.ctx.storage.deleteAll();
  }

  /** Takes a post. Whether there is such a hook at all can be told from neither the answer nor its time. */
  async receive(post: Post): Promise<Receipt> {
    const nowMs = Date.now();
    const verification = this.#hook?.verification ?? "standard";
    const secrets = goodSecrets(this.#hook?.secrets ?? [], nowMs).map(({ secret }) => secret);
    if (!(await isSigned(verification, secrets, post, nowMs))) return { status: "refused" };
    const payload = payloadOf(post);
    if (payload === null) return { status: "malformed", message: "The body is neither an object of JSON nor a form." };
    const names = await namesOf(verification, post, payload);
    const hook = this.#hook;
    if (hook === undefined || (await closedReason(hook, this.env)) !== null) return { status: "refused" };
    const challenge = challengeOf(verification, payload);
    if (challenge !== null) return { status: "challenge", challenge };
    return this.#take(names, payload, nowMs);
  }

  override async alarm(): Promise<void> {
    this.#alarm.isGone();
    if (this.#hook === undefined) return;
    this.#deliveries?.prune(Date.now() - keepMs[this.#hook.verification]);
    this.#goOn();
  }

  /** Stores what a post asks for, unless it did before; and begins with it. */
  async #take(names: DeliveryNames, payload: Payload, nowMs: number): Promise<Receipt> {
    const hook = this.#hook;
    if (hook === undefined) return { status: "refused" };
    const { id, verification, replyTo } = hook;
    let asked: { conversationKey: string; input: string } | null;
    try {
      asked = await askedOf(hook, payload);
    } catch (error) {
      const known = this.#deliveries?.find(names);
      if (known) return { status: "accepted", delivery: known, verification };
      return { status: "malformed", message: error instanceof Error ? error.message : "" };
    }
    // From here on without a pause: the same post may have come a second time meanwhile.
    const deliveries = this.#deliveries;
    if (deliveries === undefined || this.#hook?.id !== id) return { status: "refused" };
    const known = deliveries.find(names);
    if (known !== null) return { status: "accepted", delivery: known, verification };
    if (asked !== null && deliveries.openCount() >= mostOpen) return { status: "full", retryAfterMs: fullMs };
    const respondTo = replyTo.type === "slack" ? slackAddress(payload, isDevelopment(this.env)) : null;
    const delivery = deliveries.add(names, asked === null ? null : { ...asked, respondTo }, nowMs);
    this.#goOn();
    return { status: "accepted", delivery, verification };
  }

  /** Begins what is due, as far as there is room, and sees to it that the alarm rings for the rest. */
  #goOn(): void {
    const deliveries = this.#deliveries;
    const hook = this.#hook;
    if (deliveries === undefined || hook === undefined) return;
    const nowMs = Date.now();
    for (const delivery of deliveries.due(nowMs, mostAtOnce + this.#running.size)) {
      if (this.#running.size >= mostAtOnce) break;
      if (this.#running.has(delivery.number)) continue;
      this.#running.add(delivery.number);
      const ended = (error?: Error) => {
        this.#running.delete(delivery.number);
        if (error === undefined) return this.#goOn();
        // Nothing could be written of it: not at once again.
        console.error(JSON.stringify({ event: "hook_delivery_broke_off", error_name: error.name }));
        if (this.#hook !== undefined) this.#alarm.ringBy(Date.now() + recoverAfterMs);
      };
      this.ctx.waitUntil(this.#work(deliveries, hook, delivery).then(() => ended(), ended));
    }
    this.ctx.waitUntil(this.#handOver());
    const isOpen = this.#running.size > 0 || deliveries.hasNotices();
    const recoverMs = isOpen ? nowMs + recoverAfterMs : Infinity;
    // What cannot go yet, though it is old, is looked at no more often.
    const goesMs = Math.max(
      (deliveries.firstFinishedMs() ?? Infinity) + keepMs[hook.verification],
      nowMs + recoverAfterMs,
    );
    const nextMs = Math.min(recoverMs, deliveries.nextDueMs(nowMs) ?? Infinity, goesMs);
    if (nextMs < Infinity) this.#alarm.ringBy(nextMs);
  }

  /** One attempt at a delivery, and what follows from it. */
  async #work(deliveries: Deliveries, hook: Stored, delivery: Open): Promise<void> {
    const { number, strikes, created_ms: createdMs } = delivery;
    if (strikes >= mostStrikes) {
      const message = "This was begun several times, and never came to an end.";
      return this.#fail(deliveries, hook, delivery, { code: "given_up", message });
    }
    if (delivery.turn === null) deliveries.strike(number, Date.now() + waitAfter(strikes));
    const key = delivery.conversation_key;
    const outcome = await runDelivery(
      { ...hook, secret: "" },
      delivery,
      {
        generation: deliveries.generation(key),
        setGeneration: (generation) => {
          if (this.#deliveries === deliveries) deliveries.setGeneration(key, generation);
        },
        began: (object, turn) => {
          if (this.#deliveries === deliveries) deliveries.began(delivery, object, turn, Date.now());
          Object.assign(delivery, { object, turn });
        },
        ended: () => {
          delivery.turn = null;
          if (this.#deliveries === deliveries) deliveries.postpone(delivery, Date.now());
        },
      },
      this.env,
    );
    // The hook was deleted meanwhile.
    if (this.#deliveries !== deliveries) return;
    const nowMs = Date.now();
    if (outcome.type === "ended") return this.#finish(deliveries, hook, delivery, outcome.view);
    const waitedMs = nowMs - createdMs;
    if (outcome.type === "later" && waitedMs < mostWaitMs) {
      const pauseMs = Math.min(waitedMs / 8, mostPauseMs);
      return deliveries.postpone(delivery, Math.round(nowMs + Math.max(outcome.waitMs, pauseMs)));
    }
    if (outcome.type === "failed" && outcome.isPassing && strikes + 1 < mostStrikes) {
      return deliveries.retry(delivery, nowMs + waitAfter(strikes));
    }
    return this.#fail(deliveries, hook, delivery, errorOf(outcome));
  }

  #finish(deliveries: Deliveries, hook: Stored, delivery: Open, view: TurnView): void {
    if (view.status === "cancelled") {
      const error = { code: "cancelled", message: "The response was cancelled." };
      return this.#fail(deliveries, hook, delivery, error);
    }
    this.#end(deliveries, hook, delivery, "hook.replied", view.text, null);
  }

  #fail(deliveries: Deliveries, hook: Stored, delivery: Open, error: { code: string; message: string }): void {
    this.#end(deliveries, hook, delivery, "hook.failed", error.message, error);
  }

  /** The one place where a delivery ends. */
  #end(
    deliveries: Deliveries,
    hook: Stored,
    { number, id, digest, object, turn, respond_to: respondTo, created_ms: createdMs }: Open,
    type: "hook.replied" | "hook.failed",
    text: string,
    error: DeliveryView["error"],
  ): void {
    const nowMs = Date.now();
    // As it is now: it may have been changed since.
    const { replyTo } = this.#hook ?? hook;
    const answer = {
      eventId: replyEventId(hook.id, digest),
      type,
      createdMs: nowMs,
      hook: hook.id,
      delivery: id,
      conversation: object === null ? null : formatId("conversation", { object, number: 0 }),
      response: object === null || turn === null ? null : formatId("response", { object, number: turn }),
      text,
    };
    const notice = replyOf(answer, replyTo, respondTo);
    const reply = notice !== null ? "pending" : replyTo.type === "none" ? "none" : "no_address";
    const status = error === null ? "completed" : "failed";
    deliveries.end(number, { status, error, reply, notice }, nowMs);
    const fields = { object: this.ctx.id.toString(), status, error_code: error?.code, ms: nowMs - createdMs };
    console.log(JSON.stringify({ event: "hook_delivery", ...fields }));
  }

  /** Gives replies to who delivers them; what cannot be given now is given later. */
  async #handOver(): Promise<void> {
    const deliveries = this.#deliveries;
    const hook = this.#hook;
    if (deliveries === undefined || hook === undefined) return;
    const registry = replyRegistryName(hook.id);
    for (const { number, notice } of deliveries.notices()) {
      try {
        // Handed over twice it is told once.
        await onceOf(this.env, registry, notice.event.id).accept({ registry, to: { url: notice.url } }, notice.event);
      } catch {
        console.error(JSON.stringify({ event: "hook_reply_not_handed_over", object: this.ctx.id.toString() }));
        this.#alarm.ringBy(Date.now() + recoverAfterMs);
        return;
      }
      if (this.#deliveries !== deliveries) return;
      deliveries.handedOver(number);
    }
  }

  /**
   * Makes what signs replies, before the hook is told of them. Whoever has a callback is shown it; Slack does not look at it.
   * A callback where there was none has a secret of its own: what signed before may have been shown to nobody.
   */
  async #signs({ id, replyTo }: Pick<NewHook, "id" | "replyTo">, before?: ReplyTo): Promise<string | null> {
    if (replyTo.type === "none" || before?.type === "callback") return null;
    if (replyTo.type === "slack" && (await this.#signing(id)) !== null) return null;
    const { secret } = await registryOf(this.env, replyRegistryName(id)).rotateSigningSecret(dayMs);
    return replyTo.type === "callback" ? secret : null;
  }

  #signing = (id: string): Promise<SigningSecretView | null> =>
    registryOf(this.env, replyRegistryName(id)).signingSecret();

  #write(hook: Stored): void {
    this.ctx.storage.kv.put(hookKey, hook);
    this.#hook = hook;
  }

  #known(tenant: string): Stored {
    if (this.#hook === undefined || this.#hook.tenant !== tenant) {
      throw new GriffinError("not_found", "There is no such hook.");
    }
    return this.#hook;
  }
}

/** What a payload asks for; null where that is nothing. Throws `invalid_argument`. */
async function askedOf({ id, conversationKey, input }: Stored, payload: Payload) {
  const said = render(input, payload).trim();
  if (said === "") return null;
  if (said.length > mostInputCharacters) throw tooLong("input", mostInputCharacters);
  const key = conversationKey === null ? "all" : render(conversationKey, payload).trim();
  if (key === "") throw new GriffinError("invalid_argument", "The template of conversation_key makes nothing of this.");
  if (key.length > mostKeyCharacters) throw tooLong("conversation_key", mostKeyCharacters);
  return { conversationKey: await hashedName(conversationKey === null ? "all" : "key", id, key), input: said };
}

const waitAfter = (strikes: number): number => strikeWaitsMs[strikes] ?? 0;

const tooLong = (field: string, most: number) =>
  new GriffinError("invalid_argument", `The template of ${field} makes more than ${most} characters of this.`);

const errorOf = (outcome: Exclude<Outcome, { type: "ended" }>) =>
  outcome.type === "failed"
    ? { code: outcome.code, message: outcome.message }
    : { code: "timeout", message: "What this needs was taken for a day." };

/** Those that are good now, the newest first. */
const goodSecrets = (secrets: readonly Secret[], nowMs: number): Secret[] =>
  validSecrets(secrets, nowMs).slice(0, mostSecrets);

/** By its end a secret is told from others. */
const hintOf = (secret: string): string => `…${secret.slice(-4)}`;
