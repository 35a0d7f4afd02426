// The inside of Conversation objects, by their names: their storage, and what they refuse.
import { env, runInDurableObject } from "cloudflare:test";
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import type { Conversation } from "../../src/conversation/conversation.ts";
import type { GriffinError } from "../../src/errors.ts";

export const objectOf = (name: string) => env.CONVERSATIONS.get(env.CONVERSATIONS.idFromName(name)) as never;

export const inStorage = <R>(name: string, run: (storage: DurableObjectStorage) => R | Promise<R>): Promise<R> =>
  runInDurableObject(objectOf(name), (_, { storage }) => run(storage));

/** The code of what an object throws; undefined where it throws nothing. */
export const refusal = (name: string, ask: (object: Conversation) => unknown): Promise<string | undefined> =>
  runInDurableObject(objectOf(name), async (object) => {
    try {
      await ask(object as Conversation);
      return undefined;
    } catch (error) {
      return (error as GriffinError).code;
    }
  });

/** Has a conversation have been deleted a day ago. */
export const ageTombstone = (name: string): Promise<void> =>
  inStorage(name, ({ kv }) => void kv.put("is_deleted", Date.now() - 24 * 3_600_000));
