// griffin hooks: addresses of a server that turn signed posts into turns. The tenant's key comes from GRIFFIN_API_KEY, a
// service's own secret from GRIFFIN_HOOK_SECRET, never from options: other users of a machine see those.
import { callServer, date, pagesOf, print, printAll, type ServerOptions } from "./remote.ts";

interface Hook {
  id: string;
  name: string;
  url: string;
  model: string;
  verification: { type: string; secret_hint: string };
  reply: { type: string; url: string | null };
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
}

interface CreateOptions extends ServerOptions {
  from: string;
  input: string;
  key?: string;
  name?: string;
  model?: string;
  instructions?: string;
  maxTokens?: number;
  callback?: string;
  toSlack?: boolean;
}

export async function createHook(options: CreateOptions): Promise<void> {
  const { from: type, input, key, name, model, instructions, maxTokens, callback, toSlack } = options;
  const reply = callback ? { type: "callback", url: callback } : { type: toSlack ? "slack" : "none" };
  const verification = { type, secret: serviceSecret() };
  const settings = { name, model, instructions, input, conversation_key: key, max_output_tokens: maxTokens, reply };
  print(await call<Hook>(options, "POST", "", { ...settings, verification }), options, secretLines);
}

export async function listHooks(options: ServerOptions): Promise<void> {
  printAll(await pagesOf<Hook>((query) => call(options, "GET", `?${query}`)), options, hookLine);
}

export async function rotateHook(
  id: string,
  options: ServerOptions & { signing?: boolean; grace: number },
): Promise<void> {
  const { signing, grace } = options;
  const which = signing ? { which: "signing" } : { which: "verification", secret: serviceSecret() };
  const body = { ...which, grace_seconds: grace };
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
const serviceSecret = () => process.env["GRIFFIN_HOOK_SECRET"] || undefined;

const call = <T>(options: ServerOptions, method: string, path: string, body?: object): Promise<T> =>
  callServer<T>(options, process.env["GRIFFIN_API_KEY"], method, `/v1/hooks${path}`, body);

function hookLine({ id, name, url, model, verification, reply }: Hook): string {
  const to = reply.url === null ? reply.type : `${reply.type} ${reply.url}`;
  return [id, name, url, model, `${verification.type} ${verification.secret_hint}`, `replies: ${to}`].join("  ");
}

function deliveryLine({ id, status, created_at, response, error, reply }: Delivery): string {
  const what = error === null ? (response ?? "no response") : `${error.code}: ${error.message}`;
  return [date(created_at), id, status, what, `reply ${reply}`].join("  ");
}

/** Secrets alone on their lines, so that a script can take them; what they are stands on standard error. */
function secretLines({ id, url, secret, signing_secret: signing }: Hook): string {
  console.error(`${id}, posts go to ${url}`);
  if (secret !== undefined) console.error("the first line signs posts, and is shown once:");
  if (signing !== undefined) console.error("the last line signs replies, and is shown once:");
  return [secret, signing].filter((each) => each !== undefined).join("\n") || id;
}
