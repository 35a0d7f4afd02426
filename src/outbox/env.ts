// The objects of webhooks as their callers see them, their names, and the bindings they need.
import type { WebhookEndpoint } from "./endpoint.ts";
import type { WebhookRegistry } from "./registry.ts";

/** An object as its callers see it: every method answers over RPC. */
export type Remote<T> = {
  [Key in keyof T]: T[Key] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** The id of a Durable Object: a hash of its name, so that knowing it opens nothing. */
export interface ObjectId {
  toString(): string;
}

export interface Namespace<Stub> {
  idFromName(name: string): ObjectId;
  get(id: ObjectId): Stub;
}

export interface OutboxEnv {
  WEBHOOKS: Namespace<Remote<WebhookRegistry>>;
  WEBHOOK_ENDPOINTS: Namespace<Remote<WebhookEndpoint>>;
  /** "1": webhooks may go to http addresses, and to this machine. Never on a server of others. */
  WEBHOOKS_DEVELOPMENT?: string;
  /** Reaches this machine, where the runtime would not; used in development alone. */
  NEIGHBOURS?: { fetch(url: string, init: RequestInit): Promise<Response> };
}

export const isDevelopment = ({ WEBHOOKS_DEVELOPMENT: flag }: Pick<OutboxEnv, "WEBHOOKS_DEVELOPMENT">): boolean =>
  flag === "1";

/** The object that knows a tenant's endpoints. */
export const registryName = (tenant: string): string => `webhooks/${tenant}`;

export const registryOf = ({ WEBHOOKS }: Pick<OutboxEnv, "WEBHOOKS">, name: string) =>
  WEBHOOKS.get(WEBHOOKS.idFromName(name));

/** The object that delivers to an endpoint of a registry. */
export const endpointOf = ({ WEBHOOK_ENDPOINTS: endpoints }: OutboxEnv, registry: string, endpoint: string) =>
  endpoints.get(endpoints.idFromName(`${registry}/endpoint/${endpoint}`));

/** The object that delivers one event to an address that was named for it alone. */
export const onceOf = ({ WEBHOOK_ENDPOINTS: endpoints }: OutboxEnv, registry: string, event: string) =>
  endpoints.get(endpoints.idFromName(`${registry}/once/${event}`));
