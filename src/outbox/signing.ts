// Signatures of webhooks: Standard Webhooks 1.0, symmetric. https://www.standardwebhooks.com
import { Webhook } from "standardwebhooks";

/** A secret, and until when it signs; null: until it is rotated. */
export interface Secret {
  secret: string;
  untilMs: number | null;
}

const secretBytes = 32;
/** Of a secret, what is shown of it afterwards. */
const hintCharacters = 4;
/** However often a secret is rotated: each one that still signs makes the header longer. */
const mostSecrets = 4;

/** A secret of 256 random bits. */
export function newSecret(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(secretBytes));
  return `whsec_${btoa(String.fromCharCode(...bytes))}`;
}

/** A new secret in front of those before it, which sign for `graceMs` more at most. */
export function rotated(secrets: readonly Secret[], graceMs: number, nowMs: number): Secret[] {
  const untilMs = nowMs + graceMs;
  const before = validSecrets(secrets, nowMs).map(({ secret, untilMs: known }) => ({
    secret,
    untilMs: Math.min(known ?? Infinity, untilMs),
  }));
  return [{ secret: newSecret(), untilMs: null }, ...validSecrets(before, nowMs)].slice(0, mostSecrets);
}

/** Those that sign now, the newest first. */
export const validSecrets = (secrets: readonly Secret[], nowMs: number): Secret[] =>
  secrets.filter(({ untilMs }) => untilMs === null || untilMs > nowMs);

/** By its end a secret is told from others. */
export const hintOf = (secret: string): string => `whsec_…${secret.slice(-hintCharacters)}`;

/** The headers of an attempt at this time: signed with every secret, so that a receiver may know any one of them. */
export function signedHeaders(
  secrets: readonly string[],
  { id, body }: { id: string; body: string },
  nowMs: number,
): Record<string, string> {
  const now = new Date(nowMs);
  return {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(nowMs / 1000)),
    "webhook-signature": secrets.map((secret) => new Webhook(secret).sign(id, now, body)).join(" "),
  };
}
