// Registries of webhooks and their endpoints, as tests use them.
import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { expect, vi } from "vitest";
import { endpointOf, registryName, registryOf } from "../../src/outbox/env.ts";
import { eventTypes, type WebhookEvent } from "../../src/outbox/events.ts";
import type { DeliveryView, EndpointView } from "../../src/outbox/protocol.ts";

let count = 0;

/** A tenant that nobody had before, and what can be asked of its webhooks. */
export function newTenant() {
  const tenant = `outbox-${++count}-${Math.random()}`;
  const name = registryName(tenant);
  const registry = () => registryOf(env, name);
  const stub = (id: string) => endpointOf(env, name, id);
  const log = async (id: string): Promise<DeliveryView[]> => {
    const { deliveries } = await stub(id).list({ status: null, after: null, limit: 100 });
    return deliveries;
  };
  const alarm = (id: string): Promise<number | null> =>
    runInDurableObject(stub(id) as never, (_, { storage }) => storage.getAlarm());
  return {
    tenant,
    name,
    registry,
    stub,
    log,
    /** An endpoint for what a path of the receiver stands for; its name is part of the path. */
    async endpoint(answer: string, types = [...eventTypes]): Promise<EndpointView & { secret: string; path: string }> {
      const id = `whe_${tenant}-${++count}`;
      const path = `/${id}/${answer}`;
      const url = `https://receiver.example.com${path}`;
      const { view, secret } = await registry().create(name, id, { name: "test", url, eventTypes: types });
      return { ...view, secret, path: path.split("?")[0] ?? "" };
    },
    /** The one delivery in a log, once it has had so many attempts. */
    async attempted(id: string, attempts: number): Promise<DeliveryView> {
      await expect.poll(async () => (await log(id))[0]?.attempts.length, { timeout: 5_000 }).toBe(attempts);
      return (await log(id))[0] as DeliveryView;
    },
    /** Sets the clock to a time and lets the endpoint's alarm ring, if it was set to ring by then. */
    async ring(id: string, atMs: number): Promise<void> {
      vi.setSystemTime(atMs);
      const alarmMs = await alarm(id);
      if (alarmMs !== null && alarmMs <= atMs) await runDurableObjectAlarm(stub(id) as never);
    },
    alarm,
  };
}

export type Tenant = ReturnType<typeof newTenant>;

let events = 0;

export const newEvent = (change: Partial<WebhookEvent> = {}): WebhookEvent => {
  const dataId = `resp_${++events}`;
  return { id: `evt_${dataId}`, type: "response.completed", createdMs: Date.now(), dataId, ...change };
};
