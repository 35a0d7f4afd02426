// Subcommands about a server: how they ask it, and how they print what it says.
import { setTimeout as sleep } from "node:timers/promises";
import { GriffinError } from "../errors.ts";

/** Where a server that is busy does not say for how long. */
const usualWaitMs = 2_000;
/** A request is given up when it would have to wait longer, all waits together. */
const mostWaitMs = 15 * 60_000;

export interface ServerOptions {
  url: string;
  json?: boolean;
}

export interface Page<T> {
  data: T[];
  has_more?: boolean;
  last_id?: string | null;
}

/** Variable of the environment that holds the key which a subcommand sends, where the server asks for one. */
export type KeyVariable = "GRIFFIN_API_KEY" | "GRIFFIN_ADMIN_KEY";

/** Asks the server. Fails with what it says. */
export async function callServer<T>(
  options: ServerOptions,
  keyIn: KeyVariable,
  method: string,
  path: string,
  body?: object,
): Promise<T> {
  const headers = { "content-type": "application/json" };
  const answer = await send(options, keyIn, path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return (await answer.json()) as T;
}

/** The server's answer where all is well, also where it has to be waited for. Fails with what it says otherwise. */
export async function send(
  options: ServerOptions,
  keyIn: KeyVariable,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const key = process.env[keyIn];
  const headers = new Headers(init.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  for (let waitedMs = 0; ;) {
    const answer = await fetchFrom(options, path, { ...init, headers });
    if (answer.ok) return answer;
    const { message, param } = await faultOf(answer);
    const waitMs = waitOf(answer);
    if (waitMs === null || (waitedMs += waitMs) > mostWaitMs) {
      const code = answer.status === 401 ? "invalid_api_key" : "invalid_argument";
      const hint = answer.status === 401 ? ` ${keyHint(keyIn, key)}` : "";
      throw new GriffinError(code, `${options.url}: ${message}${hint}`, { cause: { param } });
    }
    console.error(`griffin: ${message} Asking again in ${Math.ceil(waitMs / 1000)} s.`);
    await sleep(waitMs);
  }
}

const fetchFrom = ({ url }: ServerOptions, path: string, init: RequestInit) =>
  fetch(`${url.replace(/\/+$/, "")}${path}`, init).catch((cause: unknown) => {
    throw new GriffinError("io_failed", `There is no server at ${url}.`, { cause });
  });

/** What the server says is wrong, and with which field. */
async function faultOf(answer: Response): Promise<{ message: string; param: string | null }> {
  const value = (await answer.json().catch(() => ({}))) as { error?: { message?: string; param?: string | null } };
  const { message = `It answered with status ${answer.status}.`, param = null } = value.error ?? {};
  return { message, param };
}

/** How long to wait before a request that was not let in may come again; null where that would change nothing. */
function waitOf({ status, headers }: Response): number | null {
  if ((status !== 429 && status !== 503) || headers.get("x-should-retry") === "false") return null;
  const ms = headers.get("retry-after-ms");
  const seconds = headers.get("retry-after");
  const said = ms === null ? Number(seconds) * 1000 : Number(ms);
  return Number.isFinite(said) && said > 0 ? said : usualWaitMs;
}

const keyHint = (keyIn: KeyVariable, key: string | undefined): string =>
  key ? `The key that was sent is the one in ${keyIn}.` : `${keyIn} is not set: the key is read from there.`;

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
