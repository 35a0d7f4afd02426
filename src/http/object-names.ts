// Names of objects, and keys of requests. A name is 160 bits in base 32: at random, or of a hash.
import { leadingSystemTexts, type ChatMessage } from "../model/chat-template.ts";
import { toolsText, type Tool } from "../model/tool-text.ts";

const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
const nameBytes = 20;
const leastSystemLength = 64;
const utf8 = new TextEncoder();

/** A name nobody can guess. */
export const randomName = (): string => base32(crypto.getRandomValues(new Uint8Array(nameBytes)));

/** The name that these strings, in this order, always have. */
export async function hashedName(...parts: string[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", encodeParts(parts));
  return base32(new Uint8Array(digest, 0, nameBytes));
}

/**
 * The object that keeps the prefixes of a chat: clients send the whole history each time, and the model with everything
 * up to and including the first user message, the tools too, stays the same.
 */
export function chatName(
  model: string,
  messages: readonly ChatMessage[],
  tools: readonly Tool[] = [],
): Promise<string> {
  const firstUser = messages.findIndex(({ role }) => role === "user");
  const opening = firstUser < 0 ? messages : messages.slice(0, firstUser + 1);
  const told = tools.length > 0 ? [toolsText(tools)] : [];
  return hashedName("chat", model, ...told, ...opening.flatMap(({ role, content }) => [role, content]));
}

/** The object that keeps the state behind the system texts that a chat begins with; null where it has none. */
export async function systemName(
  model: string,
  messages: readonly ChatMessage[],
  tools: readonly Tool[] = [],
): Promise<string | null> {
  const told = tools.length > 0 ? [toolsText(tools)] : [];
  const texts = [...told, ...leadingSystemTexts(messages)];
  // Shorter ones are not worth it in any vocabulary.
  if (texts.join("").length < leastSystemLength) return null;
  return hashedName("system", model, ...texts);
}

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
function base32(bytes: Uint8Array): string {
  let text = "";
  for (let bit = 0; bit < bytes.length * 8; bit += 5) {
    const pair = ((bytes[bit >> 3] ?? 0) << 8) | (bytes[(bit >> 3) + 1] ?? 0);
    text += alphabet.charAt((pair >> (11 - (bit & 7))) & 31);
  }
  return text;
}
