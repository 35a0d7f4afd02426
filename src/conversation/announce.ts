// Telling of turns that ended: what is in the outbox of a conversation, or was when it was deleted, goes to the objects
// that deliver webhooks, and stays until they have it.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import { registryOf, type OutboxEnv } from "../outbox/env.ts";
import { handOver } from "../outbox/hand-over.ts";
import type { TurnNotice } from "./outbox.ts";
import type { TurnOptions } from "./protocol.ts";

const leftPrefix = "notice/";

/** Hands notices over, and calls `done` for each that has arrived. Never throws; false where one has not. */
export async function announce(
  notices: readonly TurnNotice[],
  env: OutboxEnv,
  done: (turn: number) => void,
): Promise<boolean> {
  const handed = notices.map(async ({ turn, notice }) => {
    await handOver(notice, env);
    done(turn);
  });
  const failed = (await Promise.allSettled(handed)).filter(({ status }) => status === "rejected").length;
  if (failed > 0) console.error(JSON.stringify({ event: "notices_not_handed_over", notices: failed }));
  return failed === 0;
}

/** The types of events that somebody wants to be told of at the end of a turn; undefined: nobody knows. */
export async function wantedOf({ notify }: TurnOptions, env: OutboxEnv): Promise<string[] | undefined> {
  // An address of its own is told in any case.
  if (notify === null || notify.url !== null) return undefined;
  return registryOf(env, notify.registry)
    .wanted()
    .catch(() => undefined);
}

/** Keeps notices of a conversation that is deleted. */
export function leaveNotices({ kv }: DurableObjectStorage, notices: readonly TurnNotice[]): void {
  for (const each of notices) kv.put(leftPrefix + each.turn, each);
}

/** Whether a deleted conversation left something to tell. */
export const hasLeft = (storage: DurableObjectStorage): boolean => leftOf(storage).length > 0;

/** Hands over what a deleted conversation left behind; false where something is still there. */
export async function announceLeft(storage: DurableObjectStorage, env: OutboxEnv): Promise<boolean> {
  return announce(leftOf(storage), env, (turn) => void storage.kv.delete(leftPrefix + turn));
}

const leftOf = ({ kv }: DurableObjectStorage): TurnNotice[] =>
  [...kv.list<TurnNotice>({ prefix: leftPrefix })].map(([, each]) => each);
