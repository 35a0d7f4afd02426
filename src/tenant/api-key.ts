// API keys: `gk_`, the tenant they belong to, a secret, and a seal of the server over both. Who does not know the server's
// own secret can make no key with a seal that fits, so a forged or mistyped key is told without asking anybody. Of a key
// nothing but its SHA-256 is ever stored.
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { GriffinError } from "../errors.ts";

const tenantBytes = 8;
const secretBytes = 20;
/** Of the HMAC-SHA-256: 64 bits. */
const sealBytes = 8;
const shape = /^(gk_([0-9a-f]{16})_[0-9a-f]{40})([0-9a-f]{16})$/;
/** What a header can carry behind `Bearer`. */
const visibleAscii = /^[\x21-\x7e]+$/;
const utf8 = new TextEncoder();

/** Secrets of the server, as its bindings have them. */
export interface ServerSecrets {
  ADMIN_KEY?: string;
  KEY_SECRET?: string;
}

/**
 * The administrators' key; null where there is none. Throws `invalid_config` where it is one that no header can carry.
 */
export const adminKeyOf = (secrets: ServerSecrets): string | null => secretOf(secrets, "ADMIN_KEY");

/**
 * What keys are sealed with: KEY_SECRET, or ADMIN_KEY where that is not set; null where neither is, and then no key is
 * known. Another one ends all keys of the server for good, so whoever wants to change ADMIN_KEY and keep them sets
 * KEY_SECRET first, to the ADMIN_KEY of until then. A key lets its owner try guesses of this secret at leisure: it must be
 * random, 128 bits or more. Throws `invalid_config`.
 */
export const keySecretOf = (secrets: ServerSecrets): string | null =>
  secretOf(secrets, "KEY_SECRET") ?? secretOf(secrets, "ADMIN_KEY");

function secretOf(secrets: ServerSecrets, name: keyof ServerSecrets): string | null {
  const value = secrets[name];
  if (!value) return null;
  if (visibleAscii.test(value)) return value;
  throw new GriffinError("invalid_config", `${name} may have neither white space nor letters outside ASCII in it.`);
}

/** A tenant's id that nobody has: 16 hexadecimal digits. */
export const newTenantId = (): string => randomHex(tenantBytes);

/** A key of a tenant, with a secret of 160 random bits, sealed with the server's. */
export function newApiKey(tenant: string, keySecret: string): string {
  const head = `gk_${tenant}_${randomHex(secretBytes)}`;
  return head + sealOf(head, keySecret);
}

/** The tenant that a key names; null where the text is no key that this server made. */
export function tenantOfKey(key: string, keySecret: string): string | null {
  const [, head, tenant, seal] = shape.exec(key) ?? [];
  if (head === undefined || tenant === undefined || seal === undefined) return null;
  return isSameSecret(sealOf(head, keySecret), seal) ? tenant : null;
}

/** What is stored of a key. */
export const hashOf = (key: string): string => bytesToHex(sha256(utf8.encode(key)));

/** Whether two secrets are the same, in a time that does not depend on where they differ. */
export function isSameSecret(a: string, b: string): boolean {
  const [left, right] = [sha256(utf8.encode(a)), sha256(utf8.encode(b))];
  return left.reduce((differing, byte, i) => differing | (byte ^ (right[i] ?? 0)), 0) === 0;
}

/** What only who knows the server's secret can make of a text: its HMAC-SHA-256. */
export const macOf = (text: string, keySecret: string): Uint8Array =>
  hmac(sha256, utf8.encode(keySecret), utf8.encode(text));

const sealOf = (head: string, keySecret: string) => bytesToHex(macOf(head, keySecret).subarray(0, sealBytes));
const randomHex = (bytes: number) => bytesToHex(crypto.getRandomValues(new Uint8Array(bytes)));
