// A delivery of a hook as its log shows it. The hook knows what became of the post; whether its reply was taken is known to
// the object that delivers it.
import { replyRegistryName } from "../inbox/env.ts";
import type { DeliveryView } from "../inbox/protocol.ts";
import { replyEventId } from "../inbox/reply.ts";
import { onceOf, type OutboxEnv } from "../outbox/env.ts";
import { attemptObject } from "./webhook-endpoints.ts";
import { seconds } from "./unix-time.ts";

export async function hookDeliveryObject(env: OutboxEnv, hook: string, view: DeliveryView) {
  return {
    id: view.id,
    object: "hook.delivery" as const,
    status: view.status,
    created_at: seconds(view.createdMs),
    finished_at: seconds(view.finishedMs),
    conversation: view.conversation,
    response: view.response,
    error: view.error,
    ...(await replyFields(env, hook, view)),
  };
}

async function replyFields(env: OutboxEnv, hook: string, { reply, digest }: DeliveryView) {
  const event = replyEventId(hook, digest);
  const only = { status: null, after: null, limit: 1 };
  const log = reply === "handed_over" ? await onceOf(env, replyRegistryName(hook), event).list(only) : null;
  const told = log?.deliveries[0];
  return {
    /** Handed over is what the log of deliveries has forgotten. */
    reply: told?.status ?? reply,
    reply_attempts: (told?.attempts ?? []).map(attemptObject),
    reply_next_attempt_at: seconds(told?.nextAttemptMs ?? null),
  };
}
