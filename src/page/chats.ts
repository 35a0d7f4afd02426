// What this browser remembers of its chats: which conversations they are, what was being written, what was measured.
// The messages are the server's. Where nothing may be stored, it is remembered until the page is closed.
import type { Request } from "./api.ts";
import type { Measured } from "./figures.ts";

export interface Chat {
  /** Its first conversation's id. */
  id: string;
  title: string;
  /** All its conversations, oldest first: every regenerated or edited turn began one. */
  conversations: string[];
  /** The one that is shown. */
  current: string;
  /** A message whose reply has not been seen to end, and the response once it has a name. */
  sending: (Request & { response: string | null }) | null;
  /** By response id. */
  measured: Record<string, Measured>;
}

const chatsKey = "griffin.chats";
const draftKey = (chat: string | null) => `griffin.draft.${chat ?? "new"}`;
const titleLength = 80;

const memory = new Map<string, string>();

/** All chats, the last used first. */
export function listChats(): Chat[] {
  try {
    const chats: unknown = JSON.parse(read(chatsKey) ?? "[]");
    return Array.isArray(chats) ? chats : [];
  } catch {
    return [];
  }
}

export const findChat = (id: string): Chat | undefined => listChats().find((chat) => chat.id === id);

/** Keeps a chat: a new one comes first, a known one stays where it is. */
export function saveChat(chat: Chat): void {
  const chats = listChats();
  const place = chats.findIndex(({ id }) => id === chat.id);
  if (place < 0) chats.unshift(chat);
  else chats[place] = chat;
  write(chatsKey, JSON.stringify(chats));
}

/** Puts a chat at the head of the list. */
export function raiseChat(id: string): void {
  const chats = listChats();
  const isIt = (chat: Chat) => chat.id === id;
  write(chatsKey, JSON.stringify([...chats.filter(isIt), ...chats.filter((chat) => !isIt(chat))]));
}

export function removeChat(id: string): void {
  write(chatsKey, JSON.stringify(listChats().filter((chat) => chat.id !== id)));
  saveDraft(id, "");
}

/** What was being written in a chat; null is the one that has not begun. */
export const loadDraft = (chat: string | null): string => read(draftKey(chat)) ?? "";

export function saveDraft(chat: string | null, text: string): void {
  write(draftKey(chat), text);
}

/** A chat's name: the beginning of its first message, on one line. */
export function titleOf(message: string): string {
  const line = message.trim().replaceAll(/\s+/g, " ");
  return line.length > titleLength ? `${line.slice(0, titleLength)}…` : line || "Chat";
}

const forkPrefix = "Fork of ";

/** The name of a fork, and of a fork of a fork. */
export const forkTitle = (title: string): string => (title.startsWith(forkPrefix) ? title : forkPrefix + title);

function read(key: string): string | null {
  try {
    return memory.get(key) ?? localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** The empty text is nothing. */
function write(key: string, text: string): void {
  memory.delete(key);
  try {
    if (text === "") localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    memory.set(key, text);
  }
}
