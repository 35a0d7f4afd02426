// What happened, as webhooks tell it: what it was and which thing it was about, never what was said. Whoever wants more
// asks for the thing by its id.

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

export interface WebhookEvent {
  /** The same however often it is told; receivers know repeats by it. */
  id: string;
  type: EventType;
  createdMs: number;
  /** The thing it is about. */
  dataId: string;
}

/** The end of a thing. It has but one, so its event has but one id. */
export const endEvent = (type: EventType, dataId: string, createdMs: number): WebhookEvent => ({
  id: `evt_${dataId}`,
  type,
  createdMs,
  dataId,
});

/** The body of an event's webhooks, the same in every attempt. */
export const payloadOf = ({ id, type, createdMs, dataId }: WebhookEvent): string =>
  JSON.stringify({
    id,
    object: "event",
    type,
    timestamp: new Date(createdMs).toISOString(),
    created_at: Math.floor(createdMs / 1000),
    data: { id: dataId },
  });
