// From names to objects. A tenant's objects have names of their own, so an id of another tenant leads to nothing, as an
// id that nobody made. Prefixes of chats live apart from conversations: their names are hashes of texts, so no id may
// lead to them.
import type { Context } from "hono";
import { conversationName, nameOf } from "../conversation/names.ts";
import type { TurnOptions } from "../conversation/protocol.ts";
import { hookName } from "../inbox/env.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { AppEnv } from "./context.ts";
import { codeOf } from "./errors.ts";
import { systemName } from "./object-names.ts";

/** A request, as far as it says whose objects it is about. */
type Asked = Pick<Context<AppEnv>, "env" | "var">;

/** The object that ids of conversations and responses name. */
export const conversationStub = ({ env: { CONVERSATIONS }, var: { tenant } }: Asked, object: string) =>
  CONVERSATIONS.get(CONVERSATIONS.idFromName(conversationName(tenant, object)));

/** The object that keeps the prefixes of a chat. */
export const prefixStub = ({ env: { CONVERSATIONS }, var: { tenant } }: Asked, object: string) =>
  CONVERSATIONS.get(CONVERSATIONS.idFromName(nameOf("prefix", tenant, object)));

/** Name of the object that keeps the state behind the system texts of a chat, for all of a tenant's that begin so. */
export async function sharedByOf(
  { var: { tenant } }: Pick<Context<AppEnv>, "var">,
  { model, tools }: TurnOptions,
  messages: readonly ChatMessage[],
): Promise<string | null> {
  const object = await systemName(model, messages, tools?.list);
  return object === null ? null : nameOf("system", tenant, object);
}

/** Objects of a tenant that share the work of which nothing is kept: new ones for every request would leave traces. */
const workObjects = 16;

/** An object for work of which nothing is kept. */
export const workStub = ({ env: { CONVERSATIONS }, var: { tenant } }: Asked) =>
  CONVERSATIONS.get(CONVERSATIONS.idFromName(nameOf("work", tenant, String(Math.floor(Math.random() * workObjects)))));

/** The object that remembers a request which its caller named. */
export const namedRequestStub = ({ env: { NAMED_REQUESTS }, var: { tenant } }: Asked, name: string) =>
  NAMED_REQUESTS.get(NAMED_REQUESTS.idFromName(nameOf("named", tenant, name)));

/** The object of a batch, and its name. */
export function batchStub({ env: { BATCHES }, var: { tenant } }: Asked, object: string) {
  const name = nameOf("batch", tenant, object);
  return { name, stub: BATCHES.get(BATCHES.idFromName(name)) };
}

/** The object that knows a tenant's files and batches, and its name. */
export function batchRegistryStub({ env: { BATCH_REGISTRIES }, var: { tenant } }: Asked) {
  const name = nameOf("batches", tenant, "all");
  return { name, stub: BATCH_REGISTRIES.get(BATCH_REGISTRIES.idFromName(name)) };
}

/** The object of a hook. Whoever posts to it says no tenant, so its name has none in it. */
export const hookStub = ({ env: { HOOKS } }: Pick<Asked, "env">, object: string) =>
  HOOKS.get(HOOKS.idFromName(hookName(object)));

/** The object that knows a tenant's hooks. */
export const hookRegistryStub = ({ env: { HOOK_REGISTRIES } }: Pick<Asked, "env">, tenant: string) =>
  HOOK_REGISTRIES.get(HOOK_REGISTRIES.idFromName(nameOf("hooks", tenant, "all")));

/** Where a tenant's files are in the bucket. No tenant is called "open". */
export const fileFolder = ({ var: { tenant } }: Pick<Asked, "var">): string => `${tenant || "open"}/`;

/** What an object answers about an id; one that it does not know fails as `unknown` says. */
export async function found<T>(answer: Promise<T>, unknown: () => Error): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw codeOf(error) === "not_found" ? unknown() : error;
  }
}

/** Nothing, where that is what there is: for what may go while it is listed. */
export function orGone(error: unknown): null {
  if (codeOf(error) === "not_found") return null;
  throw error;
}
