// Subcommands about a server: how they ask it, and how they print what it says.
import { setTimeout as sleep } from "node:timers/promises";
import { GriffinError } from "../errors.ts";

export interface ServerOptions {
  url: string;
  json?: boolean;
}

export interface Page<T> {
  data: T[];
  has_more?: boolean;
  last_id?: string | null;
}

/** Asks the server; `key` is the one that it asks for, if it does. Fails with what the server says. */
export async function callServer<T>(
  options: ServerOptions,
  key: string | undefined,
  method: string,
  path: string,
  body?: object,
): Promise<T> {
  const headers = { "content-type": "application/json" };
  const answer = await send(options, key, path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return (await answer.json()) as T;
}

/** Where a key is read from, and what to do where it is not there. */
const keyNames = { tenant: "GRIFFIN_API_KEY", administrators: "GRIFFIN_ADMIN_KEY" } as const;

/** The key of the server's API; an open server needs none. */
export const apiKey = (): string | undefined => process.env[keyNames.tenant];

/** The server's answer where all is well; fails with what it says otherwise. */
export async function send(
  { url }: ServerOptions,
  key: string | undefined,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const answer = await request(url, key, path, init);
  if (answer.ok) return answer;
  const value = (await answer.json().catch(() => ({}))) as { error?: { message?: string } };
  const said = value.error?.message ?? `It answered with status ${answer.status}.`;
  if (answer.status !== 401) throw new GriffinError("invalid_argument", `${url}: ${said}`);
  const name = path.startsWith("/v1/admin/") ? keyNames.administrators : keyNames.tenant;
  throw new GriffinError("invalid_api_key", `${url}: ${said} Here it is read from ${name}.`);
}

/** The same, asked again for as long as the server says that it is busy, or that the key has used what it may. */
export async function sendPatiently(options: ServerOptions, key: string | undefined, path: string): Promise<Response> {
  for (;;) {
    const answer = await request(options.url, key, path, {});
    const waitSeconds = Number(answer.headers.get("retry-after"));
    const isBusy = answer.status === 429 || answer.status === 503;
    if (!isBusy || !(waitSeconds > 0)) return answer.ok ? answer : send(options, key, path);
    await answer.body?.cancel();
    await sleep(Math.min(waitSeconds, mostWaitSeconds) * 1000);
  }
}

const mostWaitSeconds = 60;

async function request(url: string, key: string | undefined, path: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  try {
    return await fetch(`${url.replace(/\/+$/, "")}${path}`, { ...init, headers });
  } catch (cause) {
    throw new GriffinError("io_failed", `There is no server at ${url}.`, { cause });
  }
}

/** All pages of a list; `page` answers to a query such as `limit=100&after=…`. */
export async function pagesOf<T>(page: (query: string) => Promise<Page<T>>): Promise<T[]> {
  const values: T[] = [];
  for (let query = "limit=100"; ;) {
    const { data, has_more: hasMore, last_id: last } = await page(query);
    values.push(...data);
    if (!hasMore || !last) return values;
    query = `limit=100&after=${encodeURIComponent(last)}`;
  }
}

export function print<T extends object>(value: T, { json }: ServerOptions, line: (value: T) => string): void {
  console.log(json ? JSON.stringify(value, null, 2) : line(value));
}

export function printAll<T extends object>(
  values: readonly T[],
  { json }: ServerOptions,
  line: (value: T) => string,
): void {
  if (json) console.log(JSON.stringify(values, null, 2));
  else if (values.length === 0) console.log("none");
  else for (const value of values) console.log(line(value));
}

/** Unix time in seconds, to the minute, UTC. */
export const date = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
