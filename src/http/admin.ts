// /v1/admin: tenants, their keys, and what these used, for who has the administrators' key: the app lets in nobody else.
import { Hono, type Context } from "hono";
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { registryName, registryOf } from "../outbox/env.ts";
import { newTenantId } from "../tenant/api-key.ts";
import { noLimits, scopes, type KeyView, type TenantView } from "../tenant/protocol.ts";
import type { AppEnv } from "./context.ts";
import { removeHooks } from "./hooks.ts";
import { listOf } from "./lists.ts";
import { seconds } from "./unix-time.ts";
import { checkShape, readBody, wholeNumber } from "./read-body.ts";
import { found, orGone } from "./stubs.ts";

const name = z.string().min(1).max(200);
const most = z
  .int()
  .min(1)
  .max(2 ** 31 - 1)
  .nullable();
const limits = z.strictObject({ requests_per_minute: most, tokens_per_minute: most, concurrency: most }).partial();
const scopeList = z.array(z.enum(scopes)).min(1);
/** Unix time in seconds. */
const expiresAt = z.int().min(1).nullable();
const day = z.iso.date();

export const createTenantRequest = z.strictObject({ name, limits: limits.optional() });
export const updateTenantRequest = z.strictObject({ name: name.optional(), limits: limits.optional() });
export const createKeyRequest = z.strictObject({
  name,
  scopes: scopeList.default([...scopes]),
  limits: limits.optional(),
  expires_at: expiresAt.optional(),
});
export const updateKeyRequest = z.strictObject({
  name: name.optional(),
  scopes: scopeList.optional(),
  limits: limits.optional(),
  expires_at: expiresAt.optional(),
});
export const rotateKeyRequest = z.strictObject({
  /** So long the secret before stays good. */
  grace_seconds: z
    .int()
    .min(0)
    .max(30 * 86_400)
    .default(86_400),
});
export const tenantsQuery = z.object({ limit: wholeNumber(1, 100).default(20), after: z.string().optional() });
export const usageQuery = z.object({ from: day.optional(), to: day.optional() });

export const admin = new Hono<AppEnv>()
  .post("/v1/admin/tenants", async (context) => {
    const { value } = await readBody(context.req, createTenantRequest);
    const id = newTenantId();
    await directory(context).add(id);
    const view = await tenantStub(context, id).create(id, value.name, { ...noLimits, ...value.limits });
    return context.json(tenantObject(view));
  })
  .get("/v1/admin/tenants", async (context) => {
    const { after = null, limit } = checkShape(tenantsQuery, context.req.query());
    const { ids, isLast } = await directory(context).list(after, limit);
    // One that is being deleted, or whose making broke off, is none.
    const views = await Promise.all(
      ids.map((id) => found<TenantView | null>(tenantStub(context, id).view(), unknownTenant).catch(orGone)),
    );
    const tenants = views.filter((view) => view !== null).map(tenantObject);
    return context.json({ ...listOf(tenants, !isLast), last_id: ids.at(-1) ?? null });
  })
  .get("/v1/admin/tenants/:tenant", async (context) =>
    context.json(tenantObject(await found(named(context).view(), unknownTenant))),
  )
  .post("/v1/admin/tenants/:tenant", async (context) => {
    const { value } = await readBody(context.req, updateTenantRequest);
    return context.json(tenantObject(await found(named(context).update(value), unknownTenant)));
  })
  .delete("/v1/admin/tenants/:tenant", async (context) => {
    const id = context.req.param("tenant");
    const removed = found(named(context).remove(), unknownTenant);
    // A deletion that broke off is brought to its end by another.
    await removed.catch(() => undefined);
    await registryOf(context.env, registryName(id)).removeAll();
    await removeHooks(context, id);
    await directory(context).remove(id);
    await removed;
    return context.json({ id, object: "tenant.deleted", deleted: true });
  })
  .post("/v1/admin/tenants/:tenant/keys", async (context) => {
    const { value } = await readBody(context.req, createKeyRequest);
    const { name: called, scopes: allowed, limits: own, expires_at: expires } = value;
    const key = {
      name: called,
      scopes: allowed,
      limits: { ...noLimits, ...own },
      expiresMs: milliseconds(expires) ?? null,
    };
    const { view, secret } = await found(named(context).createKey(key), unknownTenant);
    return context.json({ ...keyObject(view), secret });
  })
  .get("/v1/admin/tenants/:tenant/keys", async (context) => {
    const keys = await found(named(context).keys(), unknownTenant);
    return context.json(listOf(keys.map(keyObject), false));
  })
  .get("/v1/admin/tenants/:tenant/keys/:key", async (context) =>
    context.json(keyObject(await found(named(context).key(keyOf(context)), unknownKey))),
  )
  .post("/v1/admin/tenants/:tenant/keys/:key", async (context) => {
    const { value } = await readBody(context.req, updateKeyRequest);
    const { expires_at: expires, ...change } = value;
    const expiry = expires === undefined ? {} : { expiresMs: milliseconds(expires) ?? null };
    return context.json(
      keyObject(await found(named(context).updateKey(keyOf(context), { ...change, ...expiry }), unknownKey)),
    );
  })
  .post("/v1/admin/tenants/:tenant/keys/:key/rotate", async (context) => {
    const { value } = await readBody(context.req, rotateKeyRequest);
    const rotated = named(context).rotateKey(keyOf(context), value.grace_seconds * 1000);
    const { view, secret } = await found(rotated, unknownKey);
    return context.json({ ...keyObject(view), secret });
  })
  .delete("/v1/admin/tenants/:tenant/keys/:key", async (context) =>
    context.json(keyObject(await found(named(context).revokeKey(keyOf(context)), unknownKey))),
  )
  .get("/v1/admin/tenants/:tenant/usage", async (context) => {
    const today = new Date().toISOString().slice(0, 10);
    const { from = `${today.slice(0, 8)}01`, to = today } = checkShape(usageQuery, context.req.query());
    const rows = await found(named(context).usage(from, to), unknownTenant);
    const data = rows.map(({ day: date, key, requests, promptTokens, cachedTokens, completionTokens }) => ({
      object: "usage" as const,
      day: date,
      key: keyId(key),
      requests,
      prompt_tokens: promptTokens,
      cached_tokens: cachedTokens,
      completion_tokens: completionTokens,
    }));
    return context.json({ object: "list", data });
  });

type Asked = Context<AppEnv>;

const tenantStub = ({ env: { TENANTS } }: Asked, id: string) => TENANTS.get(TENANTS.idFromName(id));
const directory = ({ env: { TENANT_DIRECTORY: tenants } }: Asked) => tenants.get(tenants.idFromName("all"));

/** The tenant that the path names. */
const named = (context: Context<AppEnv, `${string}/:tenant`>) => tenantStub(context, context.req.param("tenant"));

const keyId = (key: number) => `key_${key}`;

function keyOf(context: Context<AppEnv, `${string}/:key`>): number {
  const [, number] = /^key_([1-9][0-9]{0,8})$/.exec(context.req.param("key")) ?? [];
  if (number === undefined) throw unknownKey();
  return Number(number);
}

const unknownTenant = () => new GriffinError("not_found", "There is no tenant with this id.");
const unknownKey = () => new GriffinError("not_found", "There is no key with this id.");
const milliseconds = (time: number | null | undefined) => (time === null || time === undefined ? time : time * 1000);

const tenantObject = ({ id, name: called, createdMs, limits: own }: TenantView) => ({
  id,
  object: "tenant" as const,
  created_at: seconds(createdMs),
  name: called,
  limits: own,
});

const keyObject = (view: KeyView) => ({
  id: keyId(view.key),
  object: "api_key" as const,
  name: view.name,
  scopes: view.scopes,
  limits: view.limits,
  created_at: seconds(view.createdMs),
  expires_at: seconds(view.expiresMs),
  revoked_at: seconds(view.revokedMs),
  last_used_at: seconds(view.lastUsedMs),
  /** Until then the secret before the last rotation is good as well. */
  previous_secret_until: seconds(view.previousUntilMs),
});
