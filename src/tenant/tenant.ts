// Tenant: the Durable Object of one customer. It knows the customer's keys and lets their requests in, one after another,
// so that no limit is ever exceeded; and it counts what they use. Work that runs says so now and then: a process that died
// does not keep its place.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { GriffinError } from "../errors.ts";
import { hashOf, keySecretOf, newApiKey, type ServerSecrets } from "./api-key.ts";
import { Quota, retryAfterMs, tighter, type Counts } from "./quota.ts";
import {
  leaseMs,
  noLimits,
  type Admission,
  type Ask,
  type Cost,
  type KeyView,
  type Limits,
  type NewKey,
  type Raise,
  type TenantView,
  type UsageRow,
} from "./protocol.ts";
import { TenantStore, type StoredCharge, type StoredKey } from "./tenant-store.ts";

/** Work that lost its place may tell for so long what it cost. */
const lapsedLifeMs = 24 * 3_600_000;
/** `last used` is this exact: more would be a row a request. */
const lastUsedEveryMs = 60_000;
const mostKeys = 1_000;
const tenantKey = "tenant";
/** What was counted in this minute is written down so long after it was counted: before an idle object is put to sleep. */
const rememberAfterMs = 2_000;
const countsKey = "counts";

/** What was counted until a time. */
interface Remembered {
  atMs: number;
  whole: Counts;
  keys: [key: number, counts: Counts][];
}

export class Tenant extends DurableObject<ServerSecrets> {
  /** undefined: there is no such tenant. */
  #tenant: TenantView | undefined;
  #store: TenantStore | undefined;
  readonly #keys = new Map<number, StoredKey>();
  readonly #byHash = new Map<string, StoredKey>();
  /** Work that runs, by its charge, and when it was last heard of. */
  readonly #charges = new Map<number, StoredCharge & { heardMs: number }>();
  readonly #whole = new Quota();
  readonly #quotas = new Map<number, Quota>();
  #isToRemember = false;

  constructor(ctx: DurableObjectState, env: ServerSecrets) {
    super(ctx, env);
    this.#tenant = ctx.storage.kv.get<TenantView>(tenantKey);
    if (this.#tenant !== undefined) this.#open();
  }

  /** Makes the tenant; its id is this object's name. */
  create(id: string, name: string, limits: Limits): TenantView {
    this.#tenant = { id, name, createdMs: Date.now(), limits };
    this.ctx.storage.kv.put(tenantKey, this.#tenant);
    this.#open();
    return this.#tenant;
  }

  view(): TenantView {
    return this.#known();
  }

  update(change: { name?: string; limits?: Partial<Limits> }): TenantView {
    const tenant = this.#known();
    const { name = tenant.name, limits } = change;
    this.#tenant = { ...tenant, name, limits: { ...tenant.limits, ...limits } };
    this.ctx.storage.kv.put(tenantKey, this.#tenant);
    return this.#tenant;
  }

  /** Deletes keys, usage and the tenant. What it stored can be reached by nobody from then on. */
  async remove(): Promise<void> {
    this.#known();
    this.#tenant = undefined;
    this.#store = undefined;
    for (const map of [this.#keys, this.#byHash, this.#charges, this.#quotas]) map.clear();
    await this.ctx.storage.deleteAll();
  }

  /**
   * A new key, and its secret, which nobody can learn again. Where there are as many as there may be, the one whose end is
   * longest ago makes room; what it used stays counted.
   */
  createKey(key: NewKey): { view: KeyView; secret: string } {
    const store = this.#opened();
    const secret = this.#newSecret();
    const nowMs = Date.now();
    if (this.#keys.size >= mostKeys) {
      const ended = firstEnded(this.#keys.values(), nowMs);
      if (ended === undefined) {
        throw new GriffinError("invalid_argument", `A tenant has at most ${mostKeys} keys that are good.`);
      }
      store.deleteKey(ended.key);
      this.#forgetHashes(ended);
      this.#keys.delete(ended.key);
      this.#quotas.delete(ended.key);
    }
    const made = store.insertKey(hashOf(secret), key, nowMs);
    this.#keep(made);
    return { view: viewOf(made), secret };
  }

  keys(): KeyView[] {
    this.#known();
    return [...this.#keys.values()].map(viewOf);
  }

  key(key: number): KeyView {
    return viewOf(this.#keyOf(key));
  }

  updateKey(key: number, change: Partial<Omit<NewKey, "limits">> & { limits?: Partial<Limits> }): KeyView {
    const known = this.#keyOf(key);
    return this.#write({ ...known, ...change, limits: { ...known.limits, ...change.limits } });
  }

  /** A new secret for a key; the one before is good for some time more. */
  rotateKey(key: number, graceMs: number): { view: KeyView; secret: string } {
    const known = this.#keyOf(key);
    if (known.revokedMs !== null) throw new GriffinError("invalid_argument", "The key was revoked.");
    const secret = this.#newSecret();
    const previousUntilMs = Date.now() + graceMs;
    const view = this.#write({ ...known, hash: hashOf(secret), previousHash: known.hash, previousUntilMs });
    return { view, secret };
  }

  /** From now on the key opens nothing. */
  revokeKey(key: number): KeyView {
    const known = this.#keyOf(key);
    return known.revokedMs === null ? this.#write({ ...known, revokedMs: Date.now() }) : viewOf(known);
  }

  /** What keys used, a row a key and day; days are UTC, both included. */
  usage(fromDay: string, toDay: string): UsageRow[] {
    this.#known();
    return this.#opened().usage(fromDay, toDay);
  }

  /** Lets a request in, or says why not. */
  admit({ scope, mostTokens, ...asker }: Ask): Admission {
    const nowMs = Date.now();
    const key = "key" in asker ? this.#keys.get(asker.key) : this.#byHash.get(asker.hash);
    if (this.#tenant === undefined || key === undefined || key.revokedMs !== null) return { status: "unknown" };
    const isPrevious = "hash" in asker && key.hash !== asker.hash;
    const untilMs = Math.min(key.expiresMs ?? Infinity, isPrevious ? (key.previousUntilMs ?? 0) : Infinity);
    if (untilMs <= nowMs) return { status: "expired" };
    if (!key.scopes.includes(scope)) return { status: "out_of_scope" };

    this.#lapse(nowMs);
    const own = this.#quotaOf(key.key);
    const take = { tokens: mostTokens };
    const { limits } = this.#tenant;
    const rates = () => tighter(this.#whole.rates(limits, take, nowMs), own.rates(key.limits, take, nowMs));
    const most = Math.min(limits.tokens_per_minute ?? Infinity, key.limits.tokens_per_minute ?? Infinity);
    if ((mostTokens ?? 0) > most) return { status: "too_large", mostTokens: most, rates: rates() };
    const what = this.#whole.refusal(limits, take, nowMs) ?? own.refusal(key.limits, take, nowMs);
    if (what !== null) return { status: "limited", what, retryAfterMs: retryAfterMs(what, nowMs), rates: rates() };

    for (const quota of [this.#whole, own]) quota.take(take, nowMs);
    this.#rememberSoon();
    if ((key.lastUsedMs ?? 0) + lastUsedEveryMs <= nowMs) this.#write({ ...key, lastUsedMs: nowMs });
    if (mostTokens === null) return { status: "admitted", key: key.key, charge: null, rates: rates() };
    const charge = this.#opened().insertCharge(key.key, mostTokens, nowMs);
    this.#charges.set(charge, { charge, key: key.key, tokens: mostTokens, taken_ms: nowMs, heardMs: nowMs });
    return { status: "admitted", key: key.key, charge, rates: rates() };
  }

  /** Work turns out to be larger than it was taken for. What was settled is not held up. */
  raise(charge: number, tokens: number): Raise {
    const nowMs = Date.now();
    const taken = this.#running(charge, nowMs);
    if (taken === undefined || this.#tenant === undefined || tokens <= taken.tokens) return { status: "raised" };
    const quotas = [
      { quota: this.#whole, limits: this.#tenant.limits },
      { quota: this.#quotaOf(taken.key), limits: this.#keys.get(taken.key)?.limits ?? noLimits },
    ];
    const mostTokens = Math.min(...quotas.map(({ limits }) => limits.tokens_per_minute ?? Infinity));
    if (tokens > mostTokens) return { status: "too_large", mostTokens };
    const may = quotas.every(({ quota, limits }) =>
      quota.mayRetake(limits, taken.tokens, taken.taken_ms, tokens, nowMs),
    );
    if (!may) return { status: "limited" };
    for (const { quota } of quotas) quota.retake(taken.tokens, taken.taken_ms, tokens, nowMs);
    const raised = { ...taken, tokens, taken_ms: nowMs, heardMs: nowMs };
    this.#charges.set(charge, raised);
    this.#opened().updateCharge(raised);
    return { status: "raised" };
  }

  /** Work still runs. */
  renew(charge: number): void {
    const nowMs = Date.now();
    const taken = this.#running(charge, nowMs);
    if (taken !== undefined) taken.heardMs = nowMs;
  }

  /** Work is over. null: nothing came of it. What was settled before changes nothing. */
  settle(charge: number, cost: Cost | null): void {
    if (this.#store === undefined) return;
    const nowMs = Date.now();
    const { promptTokens = 0, cachedTokens = 0, completionTokens = 0 } = cost ?? {};
    const tokens = promptTokens - cachedTokens + completionTokens;
    const taken = this.#running(charge, nowMs);
    if (taken === undefined) return;
    for (const quota of [this.#whole, this.#quotaOf(taken.key)]) {
      quota.settle(taken.tokens, tokens, taken.taken_ms, nowMs);
    }
    this.#rememberSoon();
    this.#charges.delete(charge);
    this.#store.deleteCharge(charge);
    if (cost !== null) this.#store.addUsage(taken.key, nowMs, cost);
  }

  /** Work that is not settled. What had lost its place has it again from now on. */
  #running(charge: number, nowMs: number) {
    const known = this.#charges.get(charge);
    if (known !== undefined) return known;
    const lapsed = this.#store?.takeLapsed(charge);
    if (lapsed === undefined) return undefined;
    const resumed = { ...lapsed, taken_ms: nowMs, heardMs: nowMs };
    this.#opened().restoreCharge(resumed);
    this.#charges.set(charge, resumed);
    for (const quota of [this.#whole, this.#quotaOf(resumed.key)]) quota.resume(resumed.tokens, nowMs);
    return resumed;
  }

  /** Takes back the places of work that nobody speaks of any more. */
  #lapse(nowMs: number): void {
    for (const taken of this.#charges.values()) {
      if (taken.heardMs + leaseMs > nowMs) continue;
      const store = this.#opened();
      this.settle(taken.charge, null);
      store.insertLapsed(taken);
      store.deleteLapsed(nowMs - lapsedLifeMs);
    }
  }

  #open(): void {
    this.#store = new TenantStore(this.ctx.storage);
    for (const key of this.#store.keys()) this.#keep(key);
    const remembered = this.ctx.storage.kv.get<Remembered>(countsKey);
    if (remembered !== undefined) {
      this.#whole.restore(remembered.whole, remembered.atMs);
      for (const [key, counts] of remembered.keys) this.#quotaOf(key).restore(counts, remembered.atMs);
    }
    for (const charge of this.#store.charges()) {
      this.#charges.set(charge.charge, { ...charge, heardMs: Date.now() });
      for (const quota of [this.#whole, this.#quotaOf(charge.key)]) {
        // Of what was let in before, the request is counted.
        if (charge.taken_ms <= (remembered?.atMs ?? 0)) quota.resume(charge.tokens, charge.taken_ms);
        else quota.take({ tokens: charge.tokens }, charge.taken_ms);
      }
    }
  }

  /** Writes down what was counted, a row for all that comes meanwhile. */
  #rememberSoon(): void {
    if (this.#isToRemember) return;
    this.#isToRemember = true;
    setTimeout(() => {
      this.#isToRemember = false;
      if (this.#store === undefined) return;
      const atMs = Date.now();
      const keys = [...this.#quotas].map(([key, quota]): [number, Counts] => [key, quota.counts(atMs)]);
      this.ctx.storage.kv.put(countsKey, { atMs, whole: this.#whole.counts(atMs), keys } satisfies Remembered);
    }, rememberAfterMs);
  }

  #newSecret(): string {
    const keySecret = keySecretOf(this.env);
    if (keySecret === null) throw new GriffinError("invalid_config", "Neither KEY_SECRET nor ADMIN_KEY is set.");
    return newApiKey(this.#known().id, keySecret);
  }

  #keep(key: StoredKey): void {
    const before = this.#keys.get(key.key);
    if (before !== undefined) this.#forgetHashes(before);
    this.#keys.set(key.key, key);
    if (key.previousHash !== null) this.#byHash.set(key.previousHash, key);
    this.#byHash.set(key.hash, key);
  }

  #forgetHashes({ hash, previousHash }: StoredKey): void {
    this.#byHash.delete(hash);
    if (previousHash !== null) this.#byHash.delete(previousHash);
  }

  #write(key: StoredKey): KeyView {
    this.#opened().updateKey(key);
    this.#keep(key);
    return viewOf(key);
  }

  #keyOf(key: number): StoredKey {
    this.#known();
    const known = this.#keys.get(key);
    if (known === undefined) throw new GriffinError("not_found", `There is no key ${key} here.`);
    return known;
  }

  #quotaOf(key: number): Quota {
    const quota = this.#quotas.get(key) ?? new Quota();
    this.#quotas.set(key, quota);
    return quota;
  }

  #known(): TenantView {
    if (this.#tenant === undefined) throw new GriffinError("not_found", "There is no tenant with this id.");
    return this.#tenant;
  }

  #opened(): TenantStore {
    if (this.#store === undefined) throw new GriffinError("not_found", "There is no tenant with this id.");
    return this.#store;
  }
}

/** Of the keys that are good for nothing any more the one that ended first. */
function firstEnded(keys: Iterable<StoredKey>, nowMs: number): StoredKey | undefined {
  let first: { key: StoredKey; endMs: number } | undefined;
  for (const key of keys) {
    const endMs = Math.min(key.revokedMs ?? Infinity, key.expiresMs ?? Infinity);
    if (endMs <= nowMs && endMs < (first?.endMs ?? Infinity)) first = { key, endMs };
  }
  return first?.key;
}

/** A key as its administrators see it: nothing that tells its secret. */
function viewOf(stored: StoredKey): KeyView {
  const { key, name, scopes, limits, createdMs, expiresMs, revokedMs, lastUsedMs, previousUntilMs } = stored;
  return { key, name, scopes, limits, createdMs, expiresMs, revokedMs, lastUsedMs, previousUntilMs };
}
