// Replies as they go out: to a callback as an event of Standard Webhooks, to Slack in its own form.
// https://docs.slack.dev/messaging/formatting-message-text
import { mostPayloadBytes, payloadOf, type HookEventType, type WebhookEvent } from "../outbox/events.ts";
import type { ReplyNotice } from "./deliveries.ts";
import type { ReplyTo } from "./protocol.ts";

/** What was left out of a text. */
export const cutMark = "…";

/** What became of a delivery. */
export interface Answer {
  /** Of the event. */
  eventId: string;
  type: HookEventType;
  createdMs: number;
  hook: string;
  delivery: string;
  conversation: string | null;
  response: string | null;
  /** The reply, or why there is none. */
  text: string;
}

/** Id of the event that a reply is; the same whenever it is made. */
export const replyEventId = (hook: string, digest: string): string => `evt_${hook}_${digest}`;

/** The reply to an answer and where it goes; null where it goes nowhere. */
export function replyOf(answer: Answer, replyTo: ReplyTo, respondTo: string | null): ReplyNotice | null {
  if (replyTo.type === "callback") return { url: replyTo.url, event: eventOf(answer) };
  if (replyTo.type === "slack" && respondTo !== null) return { url: respondTo, event: slackEvent(answer) };
  return null;
}

function eventOf({ eventId: id, type, createdMs, hook, delivery, conversation, response, text }: Answer): WebhookEvent {
  const event = (some: string): WebhookEvent => ({
    id,
    type,
    createdMs,
    dataId: hook,
    data: { hook, delivery_id: delivery, conversation, response, text: some },
  });
  return event(cut(text, (some) => byteLength(payloadOf(event(some))) < mostPayloadBytes));
}

function slackEvent({ eventId: id, type, createdMs, hook, text }: Answer): WebhookEvent {
  const fits = (some: string) => byteLength(slackBody(some)) < mostPayloadBytes;
  return { id, type, createdMs, dataId: hook, body: slackBody(cut(text, fits)) };
}

/** Unescaped, a reply could call everybody by <!channel>. */
const slackBody = (text: string): string =>
  JSON.stringify({ text: text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;") });

/** As much of a text as fits, with a mark where something is missing. */
function cut(text: string, fits: (text: string) => boolean): string {
  if (fits(text)) return text;
  let [least, most] = [0, text.length];
  while (most - least > 1) {
    const middle = (least + most) >> 1;
    if (fits(head(text, middle))) least = middle;
    else most = middle;
  }
  return head(text, least);
}

/** No character is cut in two. */
const head = (text: string, length: number): string => text.slice(0, length).replace(/[\uD800-\uDBFF]$/, "") + cutMark;

const byteLength = (text: string): number => new TextEncoder().encode(text).byteLength;

/** Where Slack wants the reply to a post; null where it does not say, or says what is not Slack. */
export function slackAddress({ response_url: address }: Record<string, unknown>, isDevelopment: boolean) {
  if (typeof address !== "string") return null;
  const url = URL.parse(address);
  return url?.origin === "https://hooks.slack.com" || (isDevelopment && url !== null) ? address : null;
}
