// Who posted: signatures as services make them, all HMAC-SHA256 over the bytes that came.
// - Standard Webhooks 1.0: over `id.timestamp.body`, in base64, several of them while the sender's secrets rotate.
//   https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
// - GitHub: over the body, in hex. https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
// - Slack: over `v0:timestamp:body`, in hex. https://docs.slack.dev/authentication/verifying-requests-from-slack
// A post that lacks something, is stale, or goes to a hook that nobody made costs the same comparisons as any other.
import type { Post, Verification } from "./protocol.ts";

/** A timestamp may be so far from now. */
export const toleranceMs = 5 * 60_000;
/** Of a hook: the one that is good, and the one before the last rotation. */
export const mostSecrets = 2;
/** Of a post, as many are looked at. */
const mostSignatures = 4;
const signatureBytes = 32;
const mostIdCharacters = 256;

const utf8 = new TextEncoder();

/** What a post says of itself. */
interface Claim {
  /** What was signed in front of the body. */
  head: string;
  signatures: Uint8Array<ArrayBuffer>[];
  /** Whether all that is needed is there, and recent. */
  isSound: boolean;
}

/** Whether somebody who knows one of these secrets signed a post, and not too long ago. Constant time; never throws. */
export async function isSigned(
  verification: Verification,
  secrets: readonly string[],
  post: Post,
  nowMs: number,
): Promise<boolean> {
  const { head, signatures, isSound } = claimOf(verification, post.headers, nowMs);
  const signed = concat(utf8.encode(head), post.body);
  let isKnown = false;
  for (let i = 0; i < mostSecrets; i++) {
    const secret = secrets[i];
    const bytes = secret === undefined ? null : secretBytes(verification, secret);
    const key = await crypto.subtle.importKey("raw", bytes ?? decoy(), hmac, false, ["verify"]);
    for (let j = 0; j < mostSignatures; j++) {
      const isRight = await crypto.subtle.verify("HMAC", key, signatures[j] ?? decoy(), signed);
      isKnown = (isRight && bytes !== null && signatures[j] !== undefined) || isKnown;
    }
  }
  return isKnown && isSound;
}

/** What is wrong with a secret of this kind; null where nothing is. */
export function secretFault(verification: Verification, secret: string): string | null {
  const bytes = secretBytes(verification, secret);
  if (verification === "standard") {
    // The standard has 24 to 64.
    const isGood = bytes !== null && bytes.length >= 24 && bytes.length <= 64;
    return isGood ? null : "expected whsec_ and the base64 of 24 to 64 bytes";
  }
  return bytes !== null && bytes.length >= 16 && bytes.length <= 256 ? null : "expected 16 to 256 characters";
}

const hmac = { name: "HMAC", hash: "SHA-256" };

/** Bytes that are nobody's. */
const decoy = (): Uint8Array<ArrayBuffer> => crypto.getRandomValues(new Uint8Array(signatureBytes));

function claimOf(verification: Verification, headers: Post["headers"], nowMs: number): Claim {
  const header = (name: string) => headers[name] ?? "";
  if (verification === "github") {
    const [, hex] = /^sha256=([0-9a-f]{64})$/.exec(header("x-hub-signature-256")) ?? [];
    const id = header("x-github-delivery");
    return { head: "", signatures: hex === undefined ? [] : [bytesOfHex(hex)], isSound: isId(id) };
  }
  if (verification === "slack") {
    const [, hex] = /^v0=([0-9a-f]{64})$/.exec(header("x-slack-signature")) ?? [];
    const timestamp = header("x-slack-request-timestamp");
    const signatures = hex === undefined ? [] : [bytesOfHex(hex)];
    return { head: `v0:${timestamp}:`, signatures, isSound: isRecent(timestamp, nowMs) };
  }
  const id = header("webhook-id");
  const timestamp = header("webhook-timestamp");
  const signatures = header("webhook-signature")
    .split(" ")
    .filter((text) => text.startsWith("v1,"))
    .flatMap((text) => bytesOfBase64(text.slice(3)) ?? [])
    .filter(({ length }) => length === signatureBytes);
  // A point in it would let two ids and times be one text.
  const isSound = isId(id) && !id.includes(".") && isRecent(timestamp, nowMs);
  return { head: `${id}.${timestamp}.`, signatures, isSound };
}

const isId = (id: string): boolean => id !== "" && id.length <= mostIdCharacters;

const isRecent = (timestamp: string, nowMs: number): boolean =>
  /^\d{1,12}$/.test(timestamp) && Math.abs(nowMs - Number(timestamp) * 1000) <= toleranceMs;

/** What a secret is as a key; null where it is none. */
function secretBytes(verification: Verification, secret: string): Uint8Array<ArrayBuffer> | null {
  if (verification !== "standard") return secret === "" ? null : utf8.encode(secret);
  return secret.startsWith("whsec_") ? bytesOfBase64(secret.slice("whsec_".length)) : null;
}

function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

const bytesOfHex = (hex: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

function concat(head: Uint8Array, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  return whole;
}
