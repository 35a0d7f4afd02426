// Names of objects that are hashes of what is asked.
import { hashedName } from "../conversation/names.ts";
import { leadingSystemTexts, type ChatMessage } from "../model/chat-template.ts";
import { toolsText, type Tool } from "../model/tool-text.ts";

export { hashedName, randomName } from "../conversation/names.ts";

const leastSystemLength = 64;

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
