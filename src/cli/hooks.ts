// griffin hooks: addresses of a server that turn signed posts into turns. The tenant's key comes from GRIFFIN_API_KEY, a
// service's own secret from GRIFFIN_HOOK_SECRET, never from options: other users of a machine see those.
import { GriffinError } from "../errors.ts";
import { callServer, date, pagesOf, print, printAll, type ServerOptions } from "./remote.ts";

interface Hook {
  id: string;
  name: string;
  url: string;
  model: string;
  verification: { type: string; secret_hint: string };
  reply: { type: string; url: string | null };
  status: string;
  disabled_reason: string | null;
  secret?: string;
  signing_secret?: string;
}

interface Delivery {
  id: string;
  status: string;
  created_at: number;
  conversation: string | null;
  response: string | null;
  error: { code: string; message: string } | null;
  reply: string;
  reply_attempts: { status_code: number | null; error: string | null }[];
}

interface Settings {
  input?: string;
  key?: string;
  name?: string;
  model?: string;
  instructions?: string;
  maxTokens?: number;
  callback?: string;
  toSlack?: boolean;
  replies?: boolean;
}

export async function createHook(options: ServerOptions & Settings & { from: string }): Promise<void> {
  const body = { ...settingsOf(options), verification: { type: options.from, secret: secretOf(options.from) } };
  print(await call<Hook>(options, "POST", "", body), options, secretLines);
}

export async function updateHook(id: string, options: ServerOptions & Settings): Promise<void> {
  print(await call<Hook>(options, "PATCH", of(id), settingsOf(options)), options, secretLines);
}

function settingsOf(options: Settings) {
  const { input, key, name, model, instructions, maxTokens, callback, toSlack, replies } = options;
  const reply = callback ? { type: "callback", url: callback } : toSlack ? { type: "slack" } : undefined;
  return {
    name,
    model,
    instructions,
    input,
    conversation_key: key,
    max_output_tokens: maxTokens,
    reply: replies === false ? { type: "none" } : reply,
  };
}

export async function listHooks(options: ServerOptions): Promise<void> {
  printAll(await pagesOf<Hook>((query) => call(options, "GET", `?${query}`)), options, hookLine);
}

export async function rotateHook(
  id: string,
  options: ServerOptions & { signing?: boolean; grace: number },
): Promise<void> {
  const { signing, grace } = options;
  const which = signing ? "signing" : "verification";
  const secret = signing ? undefined : secretOf((await call<Hook>(options, "GET", of(id))).verification.type);
  const body = { which, secret, grace_seconds: grace };
  print(await call<Hook>(options, "POST", `${of(id)}/rotate_secret`, body), options, secretLines);
}

export async function listHookDeliveries(id: string, options: ServerOptions & { status?: string }): Promise<void> {
  const status = options.status === undefined ? "" : `&status=${encodeURIComponent(options.status)}`;
  const page = (query: string) => call<never>(options, "GET", `${of(id)}/deliveries?${query}${status}`);
  printAll(await pagesOf<Delivery>(page), options, deliveryLine);
}

export async function deleteHook(id: string, options: ServerOptions): Promise<void> {
  print(await call<Hook>(options, "DELETE", of(id)), options, (deleted) => `${deleted.id} deleted`);
}

const of = (id: string) => `/${encodeURIComponent(id)}`;

/** The secret that a service signs with; undefined: the server makes one. */
function secretOf(service: string): string | undefined {
  if (service === "standard") return undefined;
  const secret = process.env["GRIFFIN_HOOK_SECRET"] || undefined;
  if (secret !== undefined || service !== "slack") return secret;
  throw new GriffinError(
    "invalid_argument",
    "GRIFFIN_HOOK_SECRET is not set: it has to be the Signing Secret of the Slack app.",
  );
}

const call = <T>(options: ServerOptions, method: string, path: string, body?: object): Promise<T> =>
  callServer<T>(options, "GRIFFIN_API_KEY", method, `/v1/hooks${path}`, body);

function hookLine({ id, name, url, model, verification, reply, status, disabled_reason: reason }: Hook): string {
  const to = reply.url === null ? reply.type : `${reply.type} ${reply.url}`;
  const state = reason === null ? status : `${status} (${reason})`;
  return [id, name, url, state, model, `${verification.type} ${verification.secret_hint}`, `replies: ${to}`].join("  ");
}

function deliveryLine({ id, status, created_at, response, error, reply, reply_attempts: attempts }: Delivery): string {
  const what = error === null ? (response ?? "no response") : `${error.code}: ${error.message}`;
  const told = attempts.map((each) => each.status_code ?? each.error ?? "no answer").join(", ");
  return [date(created_at), id, status, what, `reply ${reply}${told && ` (${told})`}`].join("  ");
}

/** Secrets alone on their lines, so that a script can take them; what they are stands on standard error. */
function secretLines({ id, url, secret, signing_secret: signing }: Hook): string {
  console.error(`${id}, posts go to ${url}`);
  const shown = [secret && "what signs posts", signing && "what signs replies"].filter(Boolean);
  if (shown.length > 0) console.error(`${shown.join(", then ")}; shown once:`);
  return [secret, signing].filter((each) => each !== undefined).join("\n") || id;
}
