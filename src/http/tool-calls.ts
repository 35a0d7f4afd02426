// Replies that are calls of tools: told from texts as they come, piece by piece, and given ids. A reply is one call or a
// text, never both; which, and under which id, is a matter of the turn alone, so all its readers see the same.
import type { ListedTurn } from "../conversation/protocol.ts";
import { callClosing, callMark, closingLength, readCall, type ToolCall } from "../model/tool-text.ts";

/** The call that the reply of a turn is, as far as it came; null for a text. */
export const callOf = ({ mayCall, text }: Pick<ListedTurn, "mayCall" | "text">): ToolCall | null =>
  mayCall ? readCall(text) : null;

/** Whether it does not show yet what a reply becomes that begins like this. */
export const isUndecided = (text: string): boolean =>
  readCall(text) === null && (text.startsWith(callMark) || callMark.startsWith(text));

/** What a piece of a reply turned out to be. */
export type ReplyPiece =
  | { type: "text"; text: string }
  /** It is a call of this tool. */
  | { type: "call"; name: string }
  /** More of the call's arguments. */
  | { type: "arguments"; text: string };

export interface ReplyReader {
  push(text: string): ReplyPiece[];
  /** What was still held back. */
  end(): ReplyPiece[];
}

/** Reads a reply; one that cannot be a call is passed on as it comes. */
export function createReplyReader(mayCall: boolean): ReplyReader {
  let kind: "unknown" | "text" | "call" = mayCall ? "unknown" : "text";
  let held = "";
  const pushArguments = (): ReplyPiece[] => {
    const certain = held.slice(0, held.length - closingLength(held));
    held = held.slice(certain.length);
    return certain === "" ? [] : [{ type: "arguments", text: certain }];
  };
  return {
    push(text) {
      if (kind === "text") return [{ type: "text", text }];
      held += text;
      if (kind === "call") return pushArguments();
      const call = readCall(held);
      if (call !== null) {
        kind = "call";
        held = call.isWhole ? call.arguments + callClosing : call.arguments;
        return [{ type: "call", name: call.name }, ...pushArguments()];
      }
      if (isUndecided(held)) return [];
      kind = "text";
      return [{ type: "text", text: held }];
    },
    end() {
      if (kind === "unknown") return held === "" ? [] : [{ type: "text", text: held }];
      return kind === "text" || held === callClosing || held === "" ? [] : [{ type: "arguments", text: held }];
    },
  };
}
