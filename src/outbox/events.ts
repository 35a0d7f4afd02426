// What happened, as webhooks tell it: what it was and which thing it was about. Whoever wants more asks for the thing by
// its id. Only the address that a reply was asked for from is told what was said.

/** What endpoints may ask to be told of. */
export const eventTypes = [
  "response.completed",
  "response.failed",
  "response.incomplete",
  "response.cancelled",
  "batch.completed",
  "batch.failed",
  "batch.expired",
  "batch.cancelled",
  "webhook_endpoint.disabled",
] as const;
export type EventType = (typeof eventTypes)[number];

/** What becomes of a post to a hook: told to the address of that hook alone. */
export type HookEventType = "hook.replied" | "hook.failed";

/** The body of an event has fewer bytes than this. */
export const mostPayloadBytes = 20_000;

export interface WebhookEvent {
  /** The same however often it is told; receivers know repeats by it. */
  id: string;
  type: EventType | HookEventType;
  createdMs: number;
  /** The thing it is about. */
  dataId: string;
  /** What is told of it; its id alone unless told. */
  data?: Record<string, string | null>;
  /** The whole body, for receivers that have a form of their own. */
  body?: string;
}

/** The end of a thing. It has but one, so its event has but one id. */
export const endEvent = (type: EventType, dataId: string, createdMs: number): WebhookEvent => ({
  id: `evt_${dataId}`,
  type,
  createdMs,
  dataId,
});

export const testIdHead = "evt_test_";

/** What an endpoint is tried out with: it is about nothing. */
export const testEvent = (type: EventType, name: string, createdMs: number): WebhookEvent => ({
  id: `${testIdHead}${name}`,
  type,
  createdMs,
  dataId: "test",
});

/** The body of an event's webhooks, the same in every attempt. */
export const payloadOf = ({ id, type, createdMs, dataId, data, body }: WebhookEvent): string =>
  body ??
  JSON.stringify({
    id,
    object: "event",
    type,
    timestamp: new Date(createdMs).toISOString(),
    created_at: Math.floor(createdMs / 1000),
    data: data ?? { id: dataId },
  });
