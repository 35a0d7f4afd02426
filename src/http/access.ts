// Who may ask. A server is open, or it asks for keys: then every request under /v1 needs one, and its tenant's object lets
// it in or not before anything else looks at it. An unknown key, a deleted one and a mistyped one are one answer.
import type { Context, MiddlewareHandler } from "hono";
import { settle } from "../conversation/charges.ts";
import type { Env } from "../conversation/env.ts";
import { GriffinError } from "../errors.ts";
import { hashOf, isSameSecret, tenantOfKey } from "../tenant/api-key.ts";
import type { Admission, Asker, Rate, Rates } from "../tenant/protocol.ts";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";
import { errorResponse, requestError } from "./errors.ts";
import { mostTokensOf } from "./most-tokens.ts";

/** Whether nobody needs a key. A deployment that does not say is closed. */
export const isOpen = ({ ACCESS }: Pick<Env, "ACCESS">): boolean => ACCESS === "open";

/** Headers that clients of other origins may read. */
export const rateHeaders = ["limit", "remaining", "reset"].flatMap((what) => [
  `x-ratelimit-${what}-requests`,
  `x-ratelimit-${what}-tokens`,
]);

/** Lets a request in under its tenant's name, or answers it. */
export const access: MiddlewareHandler<AppEnv> = async (context, next) => {
  const { env, req } = context;
  if (isOpen(env) || isOfAdministrators(req.path)) return next();
  const asked = askerOf(context);
  if (asked === null) return refused(invalidKey());
  const { tenant, asker } = asked;
  const stub = env.TENANTS.get(env.TENANTS.idFromName(tenant));
  const scope = req.method === "GET" || req.method === "HEAD" ? "read" : "write";
  const mostTokens = await mostTokensOf(context);
  const admission = await stub.admit({ ...asker, scope, mostTokens });
  if (admission.status !== "admitted") return refusal(admission);

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
  const { ADMIN_KEY: adminKey } = context.env;
  const key = bearerOf(context);
  if (!adminKey || key === null || !isSameSecret(key, adminKey)) return refused(invalidKey());
  return next();
};

const isOfAdministrators = (path: string) => /^\/v1\/admin(\/|$)/.test(path);

/** Whose request it is: of who sent it, or of whom we send it for. */
function askerOf(context: Context<AppEnv>): { tenant: string; asker: Asker } | null {
  const caller = callerOf(context.env);
  if (caller !== null) return caller.key === null ? null : { tenant: caller.tenant, asker: { key: caller.key } };
  const key = bearerOf(context);
  const tenant = key === null ? null : tenantOfKey(key);
  return key === null || tenant === null ? null : { tenant, asker: { hash: hashOf(key) } };
}

/** The key of a request: `authorization: Bearer …`. */
function bearerOf({ req }: Context<AppEnv>): string | null {
  const [, key] = /^Bearer +(\S+) *$/i.exec(req.header("authorization") ?? "") ?? [];
  return key ?? null;
}

function refusal(admission: Exclude<Admission, { status: "admitted" }>): Response {
  if (admission.status === "unknown") return refused(invalidKey());
  if (admission.status === "expired") {
    return refused(requestError("invalid_api_key", "The API key has expired.", null, "expired_api_key"));
  }
  if (admission.status === "out_of_scope") {
    const message = "The API key may not do this: it lacks the scope that the request needs.";
    return errorResponse(requestError("scope_missing", message, null, "insufficient_scope"));
  }
  const headers = headersOf(admission.rates);
  if (admission.status === "too_large") {
    const message = `This request may run more tokens than the key may use in a minute, which is ${admission.mostTokens}: ask for a shorter reply.`;
    return errorResponse(new GriffinError("invalid_argument", message), headers);
  }
  const { what, retryAfterMs } = admission;
  const message =
    what === "concurrency" ? "Too many replies are in the making." : `The limit of ${what} per minute is reached.`;
  return errorResponse(requestError("rate_limited", message, null, "rate_limit_exceeded"), {
    ...headers,
    "retry-after": String(Math.ceil(retryAfterMs / 1000)),
    "retry-after-ms": String(retryAfterMs),
  });
}

const invalidKey = () =>
  new GriffinError("invalid_api_key", "There is no API key, or none that is known here: authorization: Bearer gk_…");

const refused = (error: Error) => errorResponse(error, { "www-authenticate": "Bearer" });

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
