// Subcommands about a server: how they ask it, and how they print what it says.
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

/** The server's answer where all is well; fails with what it says otherwise. */
export async function send(
  { url }: ServerOptions,
  key: string | undefined,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const headers = new Headers(init.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  const answer = await fetch(`${url.replace(/\/+$/, "")}${path}`, { ...init, headers }).catch((cause: unknown) => {
    throw new GriffinError("io_failed", `There is no server at ${url}.`, { cause });
  });
  if (answer.ok) return answer;
  const value = (await answer.json().catch(() => ({}))) as { error?: { message?: string } };
  const said = value.error?.message ?? `It answered with status ${answer.status}.`;
  throw new GriffinError(answer.status === 401 ? "invalid_api_key" : "invalid_argument", `${url}: ${said}`);
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
