// Telling of turns that ended: what is in the outbox of a conversation, or was of a turn that was deleted, goes to the
// objects that deliver webhooks and to the tenant that is charged, and stays until they have it.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import type { OutboxEnv } from "../outbox/env.ts";
import { handOver } from "../outbox/hand-over.ts";
import type { Notice } from "../outbox/protocol.ts";
import { settle } from "./charges.ts";
import type { Env } from "./env.ts";
import type { TurnEnd } from "./outbox.ts";

const leftPrefix = "end/";

/** Tells all who are to know of an end. To be told twice changes nothing. Never throws; false where somebody does not know. */
export async function tell({ notice, chargedTo, cost }: TurnEnd, env: Env): Promise<boolean> {
  const told = await Promise.all([settle(chargedTo, cost, env), announce(notice, env)]);
  return told.every((isTold) => isTold);
}

/** Hands a notice over; nothing where there is none. Never throws; false where it has not arrived. */
export async function announce(notice: Notice | null, env: OutboxEnv): Promise<boolean> {
  if (notice === null) return true;
  try {
    await handOver(notice, env);
    return true;
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.error(JSON.stringify({ event: "notice_not_handed_over", error_name: name }));
    return false;
  }
}

/** Keeps the ends of turns that are deleted. */
export function leaveEnds({ kv }: DurableObjectStorage, ends: readonly TurnEnd[]): void {
  for (const end of ends) kv.put(leftPrefix + end.turn, end);
}

/** Ends of turns that were deleted. */
export const leftEnds = ({ kv }: DurableObjectStorage): TurnEnd[] =>
  [...kv.list<TurnEnd>({ prefix: leftPrefix })].map(([, end]) => end);

/** Tells what deleted turns left behind; false where something is still there. */
export async function tellLeft(storage: DurableObjectStorage, env: Env): Promise<boolean> {
  const told = leftEnds(storage).map(async (end) => {
    const isDone = await tell(end, env);
    if (isDone) storage.kv.delete(leftPrefix + end.turn);
    return isDone;
  });
  return (await Promise.all(told)).every((isDone) => isDone);
}
