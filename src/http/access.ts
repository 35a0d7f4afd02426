// Who may ask. A server is open, or it asks for keys: then every request under /v1 needs one. A key that this server never
// made is told by itself, before anything of the body is read and without asking anybody; for all others the tenant's
// object lets a request in or not. An unknown key, a deleted one and a mistyped one are one answer.
import type { Context, MiddlewareHandler } from "hono";
import { settle } from "../conversation/charges.ts";
import type { Env } from "../conversation/env.ts";
import { GriffinError } from "../errors.ts";
import { adminKeyOf, hashOf, isSameSecret, keySecretOf, tenantOfKey } from "../tenant/api-key.ts";
import type { Admission, Rate, Rates } from "../tenant/protocol.ts";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";
import { errorResponse, requestError, retryHeaders } from "./errors.ts";
import { isHookPost } from "./hooks.ts";
import { mostTokensOf } from "./most-tokens.ts";
import { bodyLimitBytes, discardBody } from "./read-body.ts";

/** Whether nobody needs a key. A deployment that does not say is closed. */
export const isOpen = ({ ACCESS }: Pick<Env, "ACCESS">): boolean => ACCESS === "open";

/** Headers that clients of other origins may read. */
export const rateHeaders = ["limit", "remaining", "reset"].flatMap((what) => [
  `x-ratelimit-${what}-requests`,
  `x-ratelimit-${what}-tokens`,
]);

/** Answers a request that has no key of this server. */
export const checkKey: MiddlewareHandler<AppEnv> = async (context, next) => {
  if (needsNoKey(context)) return next();
  // Our own request for somebody: of a batch whose server was open when it was made, there is no key.
  const caller = callerOf(context.env);
  if (caller !== null) {
    if (caller.key === null) return refused(context, invalidKey());
    context.set("apiKey", { tenant: caller.tenant, key: caller.key });
    return next();
  }
  const key = bearerOf(context);
  const keySecret = keySecretOf(context.env);
  const tenant = key === null || keySecret === null ? null : tenantOfKey(key, keySecret);
  if (key === null || tenant === null) return refused(context, invalidKey());
  context.set("apiKey", { tenant, hash: hashOf(key) });
  return next();
};

/** Lets a request whose key was checked in under its tenant's name, or answers it. */
export const access: MiddlewareHandler<AppEnv> = async (context, next) => {
  if (needsNoKey(context)) return next();
  const { env, req } = context;
  const { apiKey } = context.var;
  if (apiKey === null) return refused(context, invalidKey());
  const { tenant, ...asker } = apiKey;
  const stub = env.TENANTS.get(env.TENANTS.idFromName(tenant));
  const scope = req.method === "GET" || req.method === "HEAD" ? "read" : "write";
  const mostTokens = await mostTokensOf(context);
  const admission = await stub.admit({ ...asker, scope, mostTokens });
  if (admission.status !== "admitted") return refusal(context, admission);

  context.set("tenant", tenant);
  context.set("key", admission.key);
  context.var.log.add({ tenant, key: admission.key });
  const charge = admission.charge === null ? null : { tenant, charge: admission.charge, tokens: mostTokens ?? 0 };
  context.set("charge", charge);
  await next();
  // Nobody took it: nothing came of the request.
  if (context.var.charge !== null) context.executionCtx.waitUntil(settle(context.var.charge, null, env));
  for (const [name, value] of Object.entries(headersOf(admission.rates))) context.header(name, value);
};

/** Whoever gave this answer has accepted the request, and settles its charge from now on. */
export async function charged<T>(context: Context<AppEnv>, answer: Promise<T>): Promise<T> {
  const accepted = await answer;
  context.set("charge", null);
  return accepted;
}

/** Lets in who has the administrators' key, whatever the server asks of others. */
export const adminAccess: MiddlewareHandler<AppEnv> = async (context, next) => {
  const adminKey = adminKeyOf(context.env);
  const key = bearerOf(context);
  if (adminKey === null || key === null || !isSameSecret(key, adminKey)) return refused(context, notAdministrator());
  return next();
};

/** Where nobody needs a key, administrators need theirs, or a signature says who asks. */
const needsNoKey = ({ env, req }: Context<AppEnv>) =>
  isOpen(env) || /^\/v1\/admin(\/|$)/.test(req.path) || isHookPost(req);

/** The key of a request: `authorization: Bearer …`. */
function bearerOf({ req }: Context<AppEnv>): string | null {
  const [, key] = /^Bearer +(\S+) *$/i.exec(req.header("authorization") ?? "") ?? [];
  return key ?? null;
}

function refusal(context: Context<AppEnv>, admission: Exclude<Admission, { status: "admitted" }>): Promise<Response> {
  const answer = (error: Error, headers?: Record<string, string>) => afterBody(context, errorResponse(error, headers));
  if (admission.status === "unknown") return refused(context, invalidKey());
  if (admission.status === "expired") {
    return refused(context, requestError("invalid_api_key", "The API key has expired.", null, "expired_api_key"));
  }
  if (admission.status === "out_of_scope") {
    const message = "The API key may not do this: it lacks the scope that the request needs.";
    return answer(requestError("scope_missing", message, null, "insufficient_scope"));
  }
  const headers = headersOf(admission.rates);
  if (admission.status === "too_large") {
    const message = `This request may run more tokens than the key may use in a minute, which is ${admission.mostTokens}: ask for a shorter reply.`;
    return answer(new GriffinError("invalid_argument", message), headers);
  }
  const { what, retryAfterMs } = admission;
  const message =
    what === "concurrency" ? "Too many replies are in the making." : `The limit of ${what} per minute is reached.`;
  return answer(new GriffinError("rate_limited", message), { ...headers, ...retryHeaders(retryAfterMs) });
}

const notAdministrator = () =>
  new GriffinError(
    "invalid_api_key",
    "This needs the administrators' key, the server's ADMIN_KEY: authorization: Bearer …",
  );

const invalidKey = () =>
  new GriffinError("invalid_api_key", "There is no API key, or none that is known here: authorization: Bearer gk_…");

const refused = (context: Context<AppEnv>, error: Error) =>
  afterBody(context, errorResponse(error, { "www-authenticate": "Bearer" }));

/** The answer to whoever is not let in; no more of the body is read than others may send. */
async function afterBody({ req: { raw } }: Context<AppEnv>, answer: Response): Promise<Response> {
  await discardBody(raw, bodyLimitBytes);
  return answer;
}

function headersOf({ requests, tokens }: Rates): Record<string, string> {
  return { ...rateHeadersOf("requests", requests), ...rateHeadersOf("tokens", tokens) };
}

function rateHeadersOf(what: "requests" | "tokens", rate: Rate | null): Record<string, string> {
  if (rate === null) return {};
  return {
    [`x-ratelimit-limit-${what}`]: String(rate.limit),
    [`x-ratelimit-remaining-${what}`]: String(rate.remaining),
    [`x-ratelimit-reset-${what}`]: `${(rate.resetMs / 1000).toFixed(3).replace(/\.?0+$/, "")}s`,
  };
}
