// What webhooks say.
import { expect, it } from "vitest";
import { endEvent, payloadOf } from "../../src/outbox/events.ts";

it("an event says what ended and when, and nothing else", () => {
  const event = endEvent("response.completed", "resp_abc_1", 1_750_861_210_987);
  expect(JSON.parse(payloadOf(event))).toEqual({
    id: "evt_resp_abc_1",
    object: "event",
    type: "response.completed",
    timestamp: "2025-06-25T14:20:10.987Z",
    created_at: 1_750_861_210,
    data: { id: "resp_abc_1" },
  });
  expect(payloadOf(event).length).toBeLessThan(20_000);
});
