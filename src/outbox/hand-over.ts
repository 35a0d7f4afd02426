// From whoever has something to tell to the objects that deliver it. Done when all of them have it stored; until then it
// is to be handed over again, which tells nobody twice.
import { onceOf, registryOf, type OutboxEnv } from "./env.ts";
import type { Notice } from "./protocol.ts";

export async function handOver({ registry, event, url }: Notice, env: OutboxEnv): Promise<void> {
  const once = url === null ? [] : [onceOf(env, registry, event.id).accept({ registry, to: { url } }, event)];
  await Promise.all([registryOf(env, registry).publish(event), ...once]);
}
