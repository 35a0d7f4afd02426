// WebhookRegistry: the Durable Object that knows a tenant's endpoints: their addresses, what they want to be told of, and
// what signs it. It delivers nothing itself: each endpoint has an object for that, which asks here where to.
import { DurableObject } from "cloudflare:workers";
import { GriffinError } from "../errors.ts";
import { endpointOf, type OutboxEnv } from "./env.ts";
import type { WebhookEvent } from "./events.ts";
import type {
  DisabledReason,
  EndpointChange,
  EndpointView,
  NewEndpoint,
  SigningSecretView,
  Target,
} from "./protocol.ts";
import { hintOf, rotated, validSecrets, type Secret } from "./signing.ts";

export const mostEndpoints = 50;
/** So long after a notice could not be handed on, it is again. */
const noticeAgainMs = 10_000;

const nameKey = "name";
const signingKey = "signing";
const endpointPrefix = "endpoint/";
/** Events of the registry's own, until all endpoints have them. */
const noticePrefix = "notice/";

interface Stored extends Omit<EndpointView, "secretHint" | "previousUntilMs"> {
  secrets: Secret[];
  /** Since when it is enabled. */
  sinceMs: number;
}

interface Signing {
  secrets: Secret[];
  createdMs: number;
}

export class WebhookRegistry extends DurableObject<OutboxEnv> {
  /** `name` is this object's own, by which endpoints ask for it. */
  create(name: string, id: string, endpoint: NewEndpoint): { view: EndpointView; secret: string } {
    if (this.#all().length >= mostEndpoints) {
      throw new GriffinError("invalid_argument", `There are at most ${mostEndpoints} endpoints.`);
    }
    const nowMs = Date.now();
    this.ctx.storage.kv.put(nameKey, name);
    const made = { ...endpoint, id, createdMs: nowMs, updatedMs: nowMs, disabled: null, sinceMs: nowMs };
    return this.#withSecret({ ...made, secrets: rotated([], 0, nowMs) });
  }

  /** The newest first, behind `after`. */
  list(after: string | null, limit: number): { endpoints: EndpointView[]; isLast: boolean } {
    const all = this.#all().toSorted((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
    const start = after === null ? 0 : all.findIndex(({ id }) => id === after) + 1;
    if (after !== null && start === 0) return { endpoints: [], isLast: true };
    return { endpoints: all.slice(start, start + limit).map(viewOf), isLast: start + limit >= all.length };
  }

  /** Throws `not_found`. */
  view(id: string): EndpointView {
    return viewOf(this.#known(id));
  }

  /** Throws `not_found`. */
  update(id: string, { isEnabled, ...change }: EndpointChange): EndpointView {
    const known = this.#known(id);
    const nowMs = Date.now();
    const disabled = isEnabled === false ? (known.disabled ?? { atMs: nowMs, reason: "asked" as const }) : null;
    const sinceMs = known.disabled !== null && isEnabled === true ? nowMs : known.sinceMs;
    return this.#write({
      ...known,
      ...change,
      disabled: isEnabled === undefined ? known.disabled : disabled,
      sinceMs,
      updatedMs: nowMs,
    });
  }

  /** A new secret; the one before signs for some time more. Throws `not_found`. */
  rotate(id: string, graceMs: number): { view: EndpointView; secret: string } {
    const known = this.#known(id);
    const nowMs = Date.now();
    return this.#withSecret({ ...known, secrets: rotated(known.secrets, graceMs, nowMs), updatedMs: nowMs });
  }

  /** Deletes an endpoint, its log, and what it was still to be told. Throws `not_found`. */
  async remove(id: string): Promise<void> {
    this.#known(id);
    await endpointOf(this.env, this.#name(), id).remove();
    this.ctx.storage.kv.delete(endpointPrefix + id);
  }

  /** Deletes all endpoints and secrets. */
  async removeAll(): Promise<void> {
    for (const { id } of this.#all()) await this.remove(id);
    await this.ctx.storage.deleteAll();
  }

  /** Hands an event to every endpoint that wants it, and answers when all of them have it stored. */
  async publish(event: WebhookEvent): Promise<void> {
    const wanting = this.#all().filter(
      ({ disabled, eventTypes }) => disabled === null && eventTypes.some((type) => type === event.type),
    );
    const registry = this.#name();
    await Promise.all(
      wanting.map(({ id }) => endpointOf(this.env, registry, id).accept({ registry, to: { endpoint: id } }, event)),
    );
  }

  /** Where an endpoint's events go now; null where there is no such endpoint. */
  target(id: string): Target | null {
    const known = this.ctx.storage.kv.get<Stored>(endpointPrefix + id);
    if (known === undefined) return null;
    const { url, disabled, sinceMs } = known;
    const secrets = validSecrets(known.secrets, Date.now()).map(({ secret }) => secret);
    return { url, secrets, isDisabled: disabled !== null, sinceMs };
  }

  /** An endpoint is told nothing more; the others are told that. */
  async disable(id: string, reason: DisabledReason): Promise<void> {
    const known = this.ctx.storage.kv.get<Stored>(endpointPrefix + id);
    if (known === undefined || known.disabled !== null) return;
    const nowMs = Date.now();
    const event = {
      id: `evt_${id}_${nowMs}`,
      type: "webhook_endpoint.disabled",
      createdMs: nowMs,
      dataId: id,
    } as const;
    this.#write({ ...known, disabled: { atMs: nowMs, reason }, updatedMs: nowMs });
    this.ctx.storage.kv.put(noticePrefix + event.id, event);
    this.ctx.waitUntil(this.ctx.storage.setAlarm(nowMs + noticeAgainMs));
    await this.#notify();
  }

  /** What signs events to addresses that were named for them alone; null where nobody made it yet. */
  signingSecret(): SigningSecretView | null {
    const signing = this.ctx.storage.kv.get<Signing>(signingKey);
    return signing === undefined ? null : signingView(signing);
  }

  rotateSigningSecret(graceMs: number): { view: SigningSecretView; secret: string } {
    const nowMs = Date.now();
    const before = this.ctx.storage.kv.get<Signing>(signingKey);
    const secrets = rotated(before?.secrets ?? [], graceMs, nowMs);
    const signing = { secrets, createdMs: nowMs };
    this.ctx.storage.kv.put(signingKey, signing);
    return { view: signingView(signing), secret: newest(secrets) };
  }

  signingSecrets(): string[] {
    const { secrets = [] } = this.ctx.storage.kv.get<Signing>(signingKey) ?? {};
    return validSecrets(secrets, Date.now()).map(({ secret }) => secret);
  }

  override async alarm(): Promise<void> {
    await this.#notify();
  }

  /** Tells what is to be told of endpoints themselves; what cannot be told now is told later. */
  async #notify(): Promise<void> {
    const notices = [...this.ctx.storage.kv.list<WebhookEvent>({ prefix: noticePrefix })];
    try {
      for (const [key, event] of notices) {
        await this.publish(event);
        this.ctx.storage.kv.delete(key);
      }
    } catch {
      await this.ctx.storage.setAlarm(Date.now() + noticeAgainMs);
    }
  }

  #name = () => this.ctx.storage.kv.get<string>(nameKey) ?? "";

  #all(): Stored[] {
    return [...this.ctx.storage.kv.list<Stored>({ prefix: endpointPrefix })].map(([, stored]) => stored);
  }

  #known(id: string): Stored {
    const known = this.ctx.storage.kv.get<Stored>(endpointPrefix + id);
    if (known === undefined) throw new GriffinError("not_found", "There is no such endpoint.");
    return known;
  }

  #write(stored: Stored): EndpointView {
    this.ctx.storage.kv.put(endpointPrefix + stored.id, stored);
    return viewOf(stored);
  }

  #withSecret(stored: Stored): { view: EndpointView; secret: string } {
    return { view: this.#write(stored), secret: newest(stored.secrets) };
  }
}

const newest = ([first]: readonly Secret[]): string => first?.secret ?? "";

/** Until when older secrets sign as well; null where none does. */
function previousUntilMs(secrets: readonly Secret[]): number | null {
  const times = validSecrets(secrets, Date.now()).flatMap(({ untilMs }) => (untilMs === null ? [] : [untilMs]));
  return times.length === 0 ? null : Math.max(...times);
}

/** An endpoint as its tenant sees it: nothing that tells a secret. */
function viewOf({ id, name, url, eventTypes, createdMs, updatedMs, disabled, secrets }: Stored): EndpointView {
  const shown = { id, name, url, eventTypes, createdMs, updatedMs, disabled };
  return { ...shown, secretHint: hintOf(newest(secrets)), previousUntilMs: previousUntilMs(secrets) };
}

const signingView = ({ secrets, createdMs }: Signing): SigningSecretView => ({
  secretHint: hintOf(newest(secrets)),
  createdMs,
  previousUntilMs: previousUntilMs(secrets),
});
