// What crosses between those who have something to tell, the objects that deliver it, and the HTTP layer: plain data only.
import type { EventType, WebhookEvent } from "./events.ts";

export interface NewEndpoint {
  name: string;
  url: string;
  eventTypes: EventType[];
}

export type EndpointChange = Partial<NewEndpoint> & { isEnabled?: boolean };

/** gone: it answered 410. failing: nothing reached it for days. asked: somebody wanted it so. */
export type DisabledReason = "gone" | "failing" | "asked";

export interface EndpointView extends NewEndpoint {
  id: string;
  createdMs: number;
  updatedMs: number;
  /** null while it is told of events. */
  disabled: { atMs: number; reason: DisabledReason } | null;
  secretHint: string;
  /** Until then the secret before the last rotation signs as well. */
  previousUntilMs: number | null;
}

export interface SigningSecretView {
  secretHint: string;
  createdMs: number;
  previousUntilMs: number | null;
}

/** Where deliveries go, and what signs them. */
export interface Target {
  url: string;
  secrets: string[];
  isDisabled: boolean;
  /** Since when it is enabled. */
  sinceMs: number;
}

/** Whose deliveries an object keeps. */
export interface Owner {
  /** Name of the tenant's registry. */
  registry: string;
  /** An endpoint of it, or else an address that one event alone goes to. */
  to: { endpoint: string } | { url: string };
}

/** Something to tell: to all endpoints that want to know, and to one more address. */
export interface Notice {
  registry: string;
  event: WebhookEvent;
  url: string | null;
}

export type DeliveryStatus = "pending" | "delivered" | "failed";

export interface Attempt {
  atMs: number;
  durationMs: number;
  /** HTTP status; null where nothing was answered. */
  status: number | null;
  error: "address_refused" | "connection_failed" | "timeout" | null;
}

export interface DeliveryView {
  event: string;
  type: string;
  status: DeliveryStatus;
  createdMs: number;
  /** null where none will come. */
  nextAttemptMs: number | null;
  /** The oldest first; of many the last ones. */
  attempts: Attempt[];
}

export interface DeliveryListing {
  status: DeliveryStatus | null;
  /** Event after which the list goes on. */
  after: string | null;
  limit: number;
}

/** Events that were told to an endpoint between two times, both included. */
export interface ReplayRange {
  fromMs: number;
  toMs: number;
  status: "delivered" | "failed" | null;
}
