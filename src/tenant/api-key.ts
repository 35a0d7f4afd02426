// API keys: `gk_`, the tenant they belong to, a secret, and a checksum by which a mistyped one is told without asking
// anybody. Nothing but a key's SHA-256 is ever stored.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

const tenantBytes = 8;
const secretBytes = 20;
const checksumCharacters = 8;
const shape = /^(gk_([0-9a-f]{16})_[0-9a-f]{40})([0-9a-f]{8})$/;
const utf8 = new TextEncoder();

/** A tenant's id that nobody has: 16 hexadecimal digits. */
export const newTenantId = (): string => randomHex(tenantBytes);

/** A key of a tenant, with a secret of 160 random bits. */
export function newApiKey(tenant: string): string {
  const head = `gk_${tenant}_${randomHex(secretBytes)}`;
  return head + checksumOf(head);
}

/** The tenant that a key names; null where the text is no key. */
export function tenantOfKey(key: string): string | null {
  const [, head, tenant, checksum] = shape.exec(key) ?? [];
  return head !== undefined && tenant !== undefined && checksumOf(head) === checksum ? tenant : null;
}

/** What is stored of a key. */
export const hashOf = (key: string): string => bytesToHex(sha256(utf8.encode(key)));

/** Whether two secrets are the same, in a time that does not depend on where they differ. */
export function isSameSecret(a: string, b: string): boolean {
  const [left, right] = [sha256(utf8.encode(a)), sha256(utf8.encode(b))];
  return left.reduce((differing, byte, i) => differing | (byte ^ (right[i] ?? 0)), 0) === 0;
}

const checksumOf = (head: string) => hashOf(head).slice(0, checksumCharacters);
const randomHex = (bytes: number) => bytesToHex(crypto.getRandomValues(new Uint8Array(bytes)));
