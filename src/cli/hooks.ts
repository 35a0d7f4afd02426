// griffin hooks: addresses of a server that turn signed posts into turns. The tenant's key comes from GRIFFIN_API_KEY, a
// service's own secret from GRIFFIN_HOOK_SECRET, never from options: other users of a machine see those.
import { GriffinError } from "../errors.ts";
import { attemptsText, type Attempt } from "./attempts.ts";
import { callServer, date, pagesOf, print, printAll, type ServerOptions } from "./remote.ts";

interface Hook {
  id: string;
  name: string;
  status: string;
  closed_reason: string | null;
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
  reply_attempts: Attempt[];
  reply_next_attempt_at: number | null;
}

interface Settings extends ServerOptions {
  input?: string;
  key?: string;
  name?: string;
  model?: string;
  instructions?: string;
  maxTokens?: number;
  callback?: string;
  toSlack?: boolean;
  /** false: nowhere. */
  reply?: boolean;
}

export async function createHook(options: Settings & { from: string }): Promise<void> {
  const { from: type } = options;
  const secret = serviceSecret(type);
  const body = { ...settingsOf(options), verification: { type, secret } };
  printMade(await asked(secret, call<Hook>(options, "POST", "", body)), options);
}

export async function updateHook(id: string, options: Settings): Promise<void> {
  const hook = await call<Hook>(options, "PATCH", of(id), settingsOf(options));
  if (hook.signing_secret === undefined) print(hook, options, hookLine);
  else printMade(hook, options);
}

export async function listHooks(options: ServerOptions): Promise<void> {
  printAll(await pagesOf<Hook>((query) => call(options, "GET", `?${query}`)), options, hookLine);
}

export async function rotateHook(
  id: string,
  options: ServerOptions & { signing?: boolean; grace: number },
): Promise<void> {
  const { signing, grace } = options;
  const secret = signing ? undefined : serviceSecret((await call<Hook>(options, "GET", of(id))).verification.type);
  const body = { which: signing ? "signing" : "verification", secret, grace_seconds: grace };
  printMade(await asked(secret, call<Hook>(options, "POST", `${of(id)}/rotate_secret`, body)), options);
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

/** What of a hook was told; what is empty is taken away. */
function settingsOf({ input, key, name, model, instructions, maxTokens, callback, toSlack, reply }: Settings) {
  const replyTo = callback
    ? { type: "callback", url: callback }
    : toSlack
      ? { type: "slack" }
      : reply === false
        ? { type: "none" }
        : undefined;
  return {
    name,
    model,
    instructions: orNone(instructions),
    input,
    conversation_key: orNone(key),
    max_output_tokens: maxTokens,
    reply: replyTo,
  };
}

const orNone = (text: string | undefined) => (text === "" ? null : text);

/**
 * The secret that a service signs with, where it is not made by the server. Standard hooks have one of their own form: one
 * that is there for another service is not theirs.
 */
function serviceSecret(type: string): string | undefined {
  const secret = process.env["GRIFFIN_HOOK_SECRET"] || undefined;
  if (secret === undefined && type === "slack") {
    const message = "GRIFFIN_HOOK_SECRET is not set: it is Slack's Basic Information → Signing Secret.";
    throw new GriffinError("invalid_argument", message);
  }
  if (secret === undefined || type !== "standard" || secret.startsWith("whsec_")) return secret;
  console.error("griffin: GRIFFIN_HOOK_SECRET does not begin with whsec_: one is made for this hook instead.");
  return undefined;
}

/** What the server says, with the name of the variable where it finds fault with the secret. */
async function asked(secret: string | undefined, answer: Promise<Hook>): Promise<Hook> {
  try {
    const hook = await answer;
    if (secret !== undefined) console.error("posts are signed with the secret in GRIFFIN_HOOK_SECRET");
    return hook;
  } catch (error) {
    if (secret === undefined || !(error instanceof GriffinError) || !isAboutSecret(error)) throw error;
    throw new GriffinError(error.code, `${error.message} It is the one in GRIFFIN_HOOK_SECRET.`, { cause: error });
  }
}

const isAboutSecret = ({ cause }: GriffinError): boolean =>
  typeof cause === "object" && cause !== null && "param" in cause && /(^|\.)secret$/.test(String(cause.param));

const call = <T>(options: ServerOptions, method: string, path: string, body?: object): Promise<T> =>
  callServer<T>(options, "GRIFFIN_API_KEY", method, `/v1/hooks${path}`, body);

function hookLine({ id, name, status, closed_reason, url, model, verification, reply }: Hook): string {
  const state = closed_reason === null ? status : `${status} (${closed_reason})`;
  const to = reply.url === null ? reply.type : `${reply.type} ${reply.url}`;
  return [id, name, state, url, model, `${verification.type} ${verification.secret_hint}`, `replies: ${to}`].join("  ");
}

function deliveryLine({ id, status, created_at, response, error, ...delivery }: Delivery): string {
  const what = error === null ? (response ?? "no response") : `${error.code}: ${error.message}`;
  return [date(created_at), id, status, what, `reply ${replyText(delivery)}`].join("  ");
}

function replyText({
  reply,
  reply_attempts: attempts,
  reply_next_attempt_at: nextAt,
}: Pick<Delivery, "reply" | "reply_attempts" | "reply_next_attempt_at">): string {
  const isTried = attempts.length > 0 || nextAt !== null;
  return isTried ? `${reply}  ${attemptsText(attempts, nextAt)}` : reply;
}

/** Secrets alone on their lines, so that a script can take them; what each is stands on standard error before it. */
function printMade(hook: Hook, options: ServerOptions): void {
  if (options.json) return print(hook, options, () => "");
  const { id, url, secret, signing_secret: signing } = hook;
  console.error(`${id}, posts go to ${url}`);
  for (const [what, made] of [
    ["posts", secret],
    ["replies", signing],
  ]) {
    if (made === undefined) continue;
    console.error(`what signs ${what}, shown once:`);
    console.log(made);
  }
  if (secret === undefined && signing === undefined) console.log(id);
}
