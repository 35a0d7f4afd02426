// griffin tenants and griffin keys: a server's tenants and their keys, over its administration API. The administrators'
// key comes from GRIFFIN_ADMIN_KEY, never from an option: other users of a machine see those.
import { GriffinError } from "../errors.ts";
import { callServer, date, print, printAll, type Page, type ServerOptions } from "./remote.ts";

interface LimitOptions {
  requests?: number;
  tokens?: number;
  concurrency?: number;
}

interface KeyOptions extends LimitOptions {
  scopes?: string[];
  days?: number;
}

interface Tenant {
  id: string;
  name: string;
  limits: Record<string, number | null>;
}

interface Key extends Tenant {
  scopes: string[];
  expires_at: number | null;
  revoked_at: number | null;
  last_used_at: number | null;
  secret?: string;
}

interface Usage {
  day: string;
  key: string;
  requests: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
}

const secondsOfDay = 86_400;

export async function createTenant(name: string, options: ServerOptions & LimitOptions): Promise<void> {
  print(await call<Tenant>(options, "POST", "/tenants", { name, limits: limitsOf(options) }), options, tenantLine);
}

export async function listTenants(options: ServerOptions): Promise<void> {
  const all: Tenant[] = [];
  for (let after = ""; ;) {
    const page = await call<Page<Tenant>>(options, "GET", `/tenants?limit=100${after}`);
    all.push(...page.data);
    if (!page.has_more || !page.last_id) break;
    after = `&after=${page.last_id}`;
  }
  printAll(all, options, tenantLine);
}

export async function updateTenant(tenant: string, options: ServerOptions & LimitOptions): Promise<void> {
  const body = { limits: limitsOf(options) };
  print(await call<Tenant>(options, "POST", `/tenants/${encodeURIComponent(tenant)}`, body), options, tenantLine);
}

export async function deleteTenant(tenant: string, options: ServerOptions): Promise<void> {
  print(
    await call<Tenant>(options, "DELETE", `/tenants/${encodeURIComponent(tenant)}`),
    options,
    ({ id }) => `${id} deleted`,
  );
}

export async function createKey(tenant: string, name: string, options: ServerOptions & KeyOptions): Promise<void> {
  const { scopes, days } = options;
  const expires_at = days === undefined ? undefined : Math.floor(Date.now() / 1000) + days * secondsOfDay;
  const body = { name, scopes, expires_at, limits: limitsOf(options) };
  print(await call<Key>(options, "POST", keysOf(tenant), body), options, secretLine);
}

export async function listKeys(tenant: string, options: ServerOptions): Promise<void> {
  printAll((await call<Page<Key>>(options, "GET", keysOf(tenant))).data, options, keyLine);
}

export async function rotateKey(
  tenant: string,
  key: string,
  options: ServerOptions & { grace: number },
): Promise<void> {
  const body = { grace_seconds: options.grace };
  print(
    await call<Key>(options, "POST", `${keysOf(tenant)}/${encodeURIComponent(key)}/rotate`, body),
    options,
    secretLine,
  );
}

export async function revokeKey(tenant: string, key: string, options: ServerOptions): Promise<void> {
  print(await call<Key>(options, "DELETE", `${keysOf(tenant)}/${encodeURIComponent(key)}`), options, keyLine);
}

export async function printUsage(
  tenant: string,
  options: ServerOptions & { from?: string; to?: string },
): Promise<void> {
  const { from, to } = options;
  const query = new URLSearchParams({ ...(from && { from }), ...(to && { to }) });
  const { data } = await call<Page<Usage>>(options, "GET", `/tenants/${encodeURIComponent(tenant)}/usage?${query}`);
  printAll(
    data,
    options,
    (row) =>
      `${row.day}  ${row.key}  ${row.requests} requests, ${row.prompt_tokens} prompt tokens (${row.cached_tokens} restored), ${row.completion_tokens} completion tokens`,
  );
}

const keysOf = (tenant: string) => `/tenants/${encodeURIComponent(tenant)}/keys`;

function limitsOf({ requests, tokens, concurrency }: LimitOptions) {
  return { requests_per_minute: requests, tokens_per_minute: tokens, concurrency };
}

function call<T>(options: ServerOptions, method: string, path: string, body?: object): Promise<T> {
  if (!process.env["GRIFFIN_ADMIN_KEY"]) {
    throw new GriffinError("invalid_argument", "GRIFFIN_ADMIN_KEY is not set: it is the ADMIN_KEY of the server.");
  }
  return callServer<T>(options, "GRIFFIN_ADMIN_KEY", method, `/v1/admin${path}`, body);
}

const tenantLine = ({ id, name, limits }: Tenant) => `${id}  ${name}  ${limitsText(limits)}`;

function limitsText(limits: Tenant["limits"]): string {
  const set = Object.entries(limits).flatMap(([name, limit]) => (limit === null ? [] : [`${name} ${limit}`]));
  return set.length === 0 ? "no limits" : set.join(", ");
}

function keyLine({ id, name, scopes, limits, expires_at, revoked_at, last_used_at }: Key): string {
  const used = last_used_at === null ? "never used" : `used ${date(last_used_at)}`;
  const ends = expires_at === null ? [] : [`expires ${date(expires_at)}`];
  const state = revoked_at === null ? ends : [`revoked ${date(revoked_at)}`];
  return [`${id}  ${name}  ${scopes.join("+")}  ${limitsText(limits)}`, used, ...state].join("  ");
}

/** The secret alone on its line, so that a script can take it; what it is stands on standard error. */
function secretLine({ id, name, secret = "" }: Key): string {
  console.error(`${id}, "${name}"; this is shown once:`);
  return secret;
}
