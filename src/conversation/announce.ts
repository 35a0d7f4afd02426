// Telling of turns that ended: what is in the outbox of a conversation, or was of a turn that was deleted, goes to the
// objects that deliver webhooks, and stays until they have it.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import type { OutboxEnv } from "../outbox/env.ts";
import { handOver } from "../outbox/hand-over.ts";
import type { TurnNotice } from "./outbox.ts";

const leftPrefix = "notice/";

/** Hands a notice over; nothing where there is none. Never throws; false where it has not arrived. */
export async function announce(told: TurnNotice | undefined, env: OutboxEnv): Promise<boolean> {
  if (told === undefined) return true;
  try {
    await handOver(told.notice, env);
    return true;
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.error(JSON.stringify({ event: "notice_not_handed_over", error_name: name }));
    return false;
  }
}

/** Keeps notices of turns that are deleted. */
export function leaveNotices({ kv }: DurableObjectStorage, notices: readonly TurnNotice[]): void {
  for (const each of notices) kv.put(leftPrefix + each.turn, each);
}

/** Notices of turns that were deleted. */
export const leftNotices = ({ kv }: DurableObjectStorage): TurnNotice[] =>
  [...kv.list<TurnNotice>({ prefix: leftPrefix })].map(([, each]) => each);

/** Hands over what deleted turns left behind; false where something is still there. */
export async function announceLeft(storage: DurableObjectStorage, env: OutboxEnv): Promise<boolean> {
  const handed = leftNotices(storage).map(async (left) => {
    const isDone = await announce(left, env);
    if (isDone) storage.kv.delete(leftPrefix + left.turn);
    return isDone;
  });
  return (await Promise.all(handed)).every((isDone) => isDone);
}
