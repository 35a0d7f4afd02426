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
  { url }: ServerOptions,
  key: string | undefined,
  method: string,
  path: string,
  body?: object,
): Promise<T> {
  const headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
  const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
  const answer = await fetch(`${url.replace(/\/+$/, "")}${path}`, init).catch((cause: unknown) => {
    throw new GriffinError("io_failed", `There is no server at ${url}.`, { cause });
  });
  const value: { error?: { message?: string } } = await answer.json().catch(() => ({}));
  if (answer.ok) return value as T;
  const said = value.error?.message ?? `It answered with status ${answer.status}.`;
  throw new GriffinError(answer.status === 401 ? "invalid_api_key" : "invalid_argument", `${url}: ${said}`);
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
