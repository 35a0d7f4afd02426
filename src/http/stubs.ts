// From names to objects. Prefixes of chats live apart from conversations: their names are hashes of texts, so no id may
// lead to them.
import type { Env } from "../conversation/env.ts";
import { codeOf } from "./errors.ts";

/** The object that ids of conversations and responses name. */
export const conversationStub = ({ CONVERSATIONS }: Env, object: string) =>
  CONVERSATIONS.get(CONVERSATIONS.idFromName(`conversation/${object}`));

/** The object that remembers a request which its caller named. */
export const namedRequestStub = ({ NAMED_REQUESTS }: Env, name: string) =>
  NAMED_REQUESTS.get(NAMED_REQUESTS.idFromName(name));

/** The object that keeps the prefixes of a chat. */
export const prefixStub = ({ CONVERSATIONS }: Env, object: string) =>
  CONVERSATIONS.get(CONVERSATIONS.idFromName(`prefix/${object}`));

/** What an object answers about an id; one that it does not know fails as `unknown` says. */
export async function found<T>(answer: Promise<T>, unknown: () => Error): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw codeOf(error) === "not_found" ? unknown() : error;
  }
}
