// What a post says, once it is known who says it: an object of JSON, or the fields of a form as strings. A form whose field
// `payload` is an object of JSON is that object: so do GitHub, where it is told to, and Slack's buttons. Which of them it
// is, its bytes tell: they are signed, and `content-type` is not.
import { hashedName } from "../conversation/names.ts";
import type { Post, Verification } from "./protocol.ts";

export type Payload = Record<string, unknown>;

/** A form's first field. In forms braces, brackets and quotes are escaped, so no JSON begins as one does. */
const formStart = /^[\w.*+%-][^&=\s]*=/;

/** null where it is neither. */
export function payloadOf({ body }: Pick<Post, "body">): Payload | null {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    return null;
  }
  if (!formStart.test(text)) return objectOf(text);
  const fields: Payload = Object.fromEntries(new URLSearchParams(text));
  const inner = typeof fields["payload"] === "string" ? objectOf(fields["payload"]) : null;
  return inner ?? fields;
}

function objectOf(text: string): Payload | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}

/** What Slack wants to hear where it asks whether this is the address; null where it does not. */
export function challengeOf(verification: Verification, { type, challenge }: Payload): string | null {
  const isAsked = verification === "slack" && type === "url_verification" && typeof challenge === "string";
  return isAsked ? challenge : null;
}

/** What tells a delivery from others, and the same one again. */
export interface DeliveryNames {
  /** As the service calls it. */
  id: string;
  /** Of what was signed: whatever an unsigned header says, this is the same for what comes again. */
  digest: string;
}

/**
 * The names of a delivery that is signed. GitHub signs no id: two deliveries with the same body are one. Slack has ids for
 * events alone, which come again with another timestamp; what else it posts, it posts once.
 */
export async function namesOf(
  verification: Verification,
  { body, headers }: Post,
  payload: Payload,
): Promise<DeliveryNames> {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(body)));
  const hash = btoa(String.fromCharCode(...bytes));
  if (verification === "standard") {
    const id = headers["webhook-id"] ?? "";
    return { id, digest: await hashedName("standard", id) };
  }
  if (verification === "github") {
    return { id: headers["x-github-delivery"] ?? "", digest: await hashedName("github", hash) };
  }
  const { event_id: event } = payload;
  const timestamp = headers["x-slack-request-timestamp"] ?? "";
  const digest =
    typeof event === "string" ? await hashedName("event", event) : await hashedName("slack", timestamp, hash);
  return { id: typeof event === "string" && event.length <= 256 ? event : `slack_${digest}`, digest };
}
