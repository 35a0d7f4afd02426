// griffin webhooks: where a tenant's events go, over the server's API. The tenant's key comes from GRIFFIN_API_KEY, never
// from an option: other users of a machine see those. An open server needs none.
import { GriffinError } from "../errors.ts";
import { answerText, attemptsText, type Attempt } from "./attempts.ts";
import { callServer, date, pagesOf, print, printAll, type ServerOptions } from "./remote.ts";

interface Endpoint {
  id: string;
  name: string;
  url: string;
  event_types: string[];
  status: string;
  disabled_reason: string | null;
  signing_secret_hint: string;
  signing_secret?: string;
}

interface Delivery {
  id: string;
  type: string;
  status: string;
  created_at: number;
  next_attempt_at: number | null;
  attempts: Attempt[];
}

interface TestResult extends Attempt {
  event_id: string;
  delivered: boolean;
}

interface EndpointOptions {
  name?: string;
  events?: string[];
}

export async function createWebhook(url: string, options: ServerOptions & EndpointOptions): Promise<void> {
  const body = { url, name: options.name, event_types: options.events };
  print(await call<Endpoint>(options, "POST", "", body), options, secretLine);
}

export async function listWebhooks(options: ServerOptions): Promise<void> {
  printAll(await all<Endpoint>(options, ""), options, endpointLine);
}

export async function updateWebhook(
  id: string,
  options: ServerOptions & EndpointOptions & { to?: string; enable?: boolean; disable?: boolean },
): Promise<void> {
  const { name, events, to, enable, disable } = options;
  const status = enable ? "enabled" : disable ? "disabled" : undefined;
  const body = { name, event_types: events, url: to, status };
  print(await call<Endpoint>(options, "POST", of(id), body), options, endpointLine);
}

export async function rotateWebhook(id: string, options: ServerOptions & { grace: number }): Promise<void> {
  const body = { grace_seconds: options.grace };
  print(await call<Endpoint>(options, "POST", `${of(id)}/rotate_secret`, body), options, secretLine);
}

export async function testWebhook(id: string, options: ServerOptions & { event?: string }): Promise<void> {
  const result = await call<TestResult>(options, "POST", `${of(id)}/test`, { event_type: options.event });
  print(result, options, (said) => `${said.event_id}  ${answerText(said)}`);
  if (!result.delivered) process.exitCode = 1;
}

export async function listDeliveries(id: string, options: ServerOptions & { status?: string }): Promise<void> {
  const query = options.status === undefined ? "" : `&status=${encodeURIComponent(options.status)}`;
  printAll(await all<Delivery>(options, `${of(id)}/deliveries`, query), options, deliveryLine);
}

/** One event, or all of a time, or all that there are: which of them has to be said. */
export async function replayWebhook(
  id: string,
  event: string | undefined,
  options: ServerOptions & { from?: number; to?: number; status?: string; all?: boolean },
): Promise<void> {
  if ([event, options.from, options.all].filter((which) => which !== undefined).length !== 1) {
    throw new GriffinError("invalid_argument", "Say what to tell anew: an event, --from a time, or --all.");
  }
  if (event !== undefined) {
    const path = `${of(id)}/deliveries/${encodeURIComponent(event)}/replay`;
    return print(await call<Delivery>(options, "POST", path), options, deliveryLine);
  }
  const { from = 0, to = Math.floor(Date.now() / 1000), status } = options;
  const replayed = await call<{ count: number }>(options, "POST", `${of(id)}/replay`, { from, to, status });
  print(replayed, options, ({ count }) => `${count} events are told anew`);
}

export async function deleteWebhook(id: string, options: ServerOptions): Promise<void> {
  print(await call<Endpoint>(options, "DELETE", of(id)), options, (deleted) => `${deleted.id} deleted`);
}

const of = (id: string) => `/${encodeURIComponent(id)}`;

const call = <T>(options: ServerOptions, method: string, path: string, body?: object): Promise<T> =>
  callServer<T>(options, "GRIFFIN_API_KEY", method, `/v1/webhook_endpoints${path}`, body);

/** All pages of a list. */
const all = <T>(options: ServerOptions, path: string, query = ""): Promise<T[]> =>
  pagesOf<T>((page) => call(options, "GET", `${path}?${page}${query}`));

function endpointLine({ id, name, url, event_types, status, disabled_reason, signing_secret_hint }: Endpoint): string {
  const state = disabled_reason === null ? status : `${status} (${disabled_reason})`;
  return [id, name, url, state, signing_secret_hint, event_types.join(" ")].join("  ");
}

function deliveryLine({ id, type, status, created_at, next_attempt_at, attempts }: Delivery): string {
  return [date(created_at), id, type, status, attemptsText(attempts, next_attempt_at)].join("  ");
}

/** The secret alone on its line, so that a script can take it; what it is stands on standard error. */
function secretLine({ id, name, signing_secret = "" }: Endpoint): string {
  console.error(`${id}, "${name}"; this is shown once:`);
  return signing_secret;
}
