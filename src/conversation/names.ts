// Names of objects, and the ids that lead to them. A name is 160 bits in base 32: at random, or of a hash. An id is a word
// for the kind, the object's name, and a number in it.

const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
const nameBytes = 20;
const utf8 = new TextEncoder();

/** A name nobody can guess. */
export const randomName = (): string => base32(crypto.getRandomValues(new Uint8Array(nameBytes)));

/** The name that these strings, in this order, always have. */
export async function hashedName(...parts: string[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", encodeParts(parts));
  return base32(new Uint8Array(digest, 0, nameBytes));
}

/** The name of a tenant's object; "" is the tenant of open servers. Tenants and objects have no slash in their names. */
export const nameOf = (kind: string, tenant: string, object: string): string =>
  tenant === "" ? `${kind}/${object}` : `${kind}/${tenant}/${object}`;

/** Of the object that ids of conversations and responses name. */
export const conversationName = (tenant: string, object: string): string => nameOf("conversation", tenant, object);

/** Kind of thing → the word its id begins with. */
export const idPrefixes = { conversation: "conv", response: "resp", "chat completion": "chatcmpl" } as const;
export type IdKind = keyof typeof idPrefixes;

/** A branch or a turn of an object. */
export interface Id {
  /** 32 characters of a–z and 2–7. */
  object: string;
  number: number;
}

/** What all ids of a kind in an object begin with; a number comes behind it. */
export const idHead = (kind: IdKind, object: string): string => `${idPrefixes[kind]}_${object}_`;

export const formatId = (kind: IdKind, { object, number }: Id): string => `${idHead(kind, object)}${number}`;

/** Each string behind its length in bytes, so that different lists never have the same encoding. */
function encodeParts(parts: readonly string[]): Uint8Array<ArrayBuffer> {
  const texts = parts.map((part) => utf8.encode(part));
  const encoded = new Uint8Array(texts.reduce((bytes, text) => bytes + 4 + text.length, 0));
  const view = new DataView(encoded.buffer);
  let at = 0;
  for (const text of texts) {
    view.setUint32(at, text.length);
    encoded.set(text, at + 4);
    at += 4 + text.length;
  }
  return encoded;
}

/** Five bits a character, highest first; RFC 4648 in small letters. */
export function base32(bytes: Uint8Array): string {
  let text = "";
  for (let bit = 0; bit < bytes.length * 8; bit += 5) {
    const pair = ((bytes[bit >> 3] ?? 0) << 8) | (bytes[(bit >> 3) + 1] ?? 0);
    text += alphabet.charAt((pair >> (11 - (bit & 7))) & 31);
  }
  return text;
}
