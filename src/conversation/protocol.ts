// What crosses between the HTTP layer and a Conversation object. Plain data only: it travels over RPC and, as one JSON
// object a line, over the stream of a turn.
import type { RanAt } from "../engine/placement.ts";
import type { ErrorCode } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { Charge } from "../tenant/protocol.ts";
import type { Tool } from "../model/tool-text.ts";

/**
 * How a turn came to its state: read back; computed again because what was kept is gone; begun behind system texts that
 * other chats begin with too; or from nothing.
 */
export type StateOrigin = "restored" | "recomputed" | "shared" | "cold";

/** What is kept for clients that name nothing: prefixes of chats, names of repeated requests. */
export const rememberedMs = 24 * 3_600_000;

/** The longest reply: it is in memory until it is kept, and with log-probabilities it is many times as large. */
export const mostReplyTokens = (topLogProbabilities: number | null): number =>
  topLogProbabilities === null ? 65_536 : 4_096;

/**
 * What a turn is: a reply to what was asked; items that were put there to be read with the next reply; a state that was
 * brought from elsewhere, of which nothing is known but its last tokens.
 */
export type TurnKind = "reply" | "items" | "state";

/** The last four are final. */
export type TurnStatus = "in_progress" | "completed" | "incomplete" | "cancelled" | "failed";

/** What a reply is held to, as the engine takes it, with what its caller called it. */
export type ReplyFormat =
  | { type: "json_object" }
  | { type: "json_schema"; schema: string; name: string | null; description: string | null; strict: boolean | null }
  | { type: "regex"; pattern: string }
  | { type: "choice"; choices: string[] };

/** The tools of a turn. */
export interface ToolUse {
  list: Tool[];
  /** An object: this one must be called. */
  choice: "none" | "auto" | "required" | { name: string };
  /** Whether the caller would take several calls at once; there is never more than one. */
  isParallel: boolean;
  /** Whether the model is told of them in front of the messages: where it has not been told of the same before. */
  isTold: boolean;
}

/** Options of a turn, all filled in and JSON-safe; they are stored with it, so that a recovery repeats it exactly. */
export interface TurnOptions {
  /** Id of a configured checkpoint. */
  model: string;
  maxTokens: number;
  stop: string[];
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  frequencyPenalty: number;
  presencePenalty: number;
  repetitionPenalty: number;
  /** Objects, not pairs: the types of RPC forget how many values a tuple has. */
  logitBias: { token: number; bias: number }[];
  /** Below 2^64, in decimal: JSON has no such integers. */
  seed: string;
  /** Log-probabilities of each token and of this many beside it; null for none. */
  topLogProbabilities: number | null;
  /** Nobody waited for the reply when it was asked for; said again to whoever asks. */
  background: boolean;
  /** null for any text. */
  format: ReplyFormat | null;
  /** false: nothing of the turn is kept once its reply was read. It ends with its client, for nobody can come back. */
  store: boolean;
  /** Said again to whoever asks: a recurrent model reads any length, so nothing is ever left out. */
  truncation: "auto" | "disabled";
  /** null for none. */
  tools: ToolUse | null;
  /** Name of the object that may keep the state behind the system texts which the turn begins with; null for none. */
  sharedBy: string | null;
  /** Where its tokens are charged; null for nowhere. */
  chargedTo: Charge | null;
  /** Who is told of its end; null for nobody. */
  notify: Notify | null;
  /** A line of a batch: nobody waits for its first token. */
  isBatch: boolean;
}

/** Whom to tell of the end of a turn, and as what. */
export interface Notify {
  /** Name of the object that knows who wants to be told. */
  registry: string;
  /** One more address, for this turn alone. */
  url: string | null;
  /** With the turn's number behind it, this is what callers know it by. */
  idHead: string;
  /** Where something that it needs was taken, another turn is begun for it: such an end is none. */
  isBegunAgain?: boolean;
}

/** The state behind the beginning of a prompt, as it goes from the object that keeps it to others. */
export interface SharedStart {
  position: number;
  data: Uint8Array;
  /** It was computed for whoever asked. */
  isNew: boolean;
}

/** Where a turn goes on from. */
export type TurnPlace =
  /** The head of a branch, which the turn becomes. */
  | { kind: "branch"; branch: number }
  /** A finished turn of the object; `null` begins anew, and makes the object where there was none. No branch moves. */
  | { kind: "after"; turn: number | null }
  /** The longest stored prefix of the messages. */
  | { kind: "prefix" };

export interface TurnRequest {
  place: TurnPlace;
  /** The new messages; with `prefix`, the whole history. */
  messages: ChatMessage[];
  options: TurnOptions;
  /** Turns whose calls the messages answer: each must be before this one. None unless told. */
  answers?: number[];
  /** true: the turn ends when the reader of its stream goes away. */
  endsWithClient: boolean;
  /** Names the request: a hash of what was sent. Kept with the turn, so that the same request sent again can find it. */
  repeatKey: string | null;
  /**
   * The latest turn begun under the same key, if that is at most this long ago, is the answer instead of another one,
   * unless it failed or was cancelled. 0: always begin another.
   */
  repeatWithinMs: number;
  /**
   * The caller gave the request its name. Else it is known by its contents alone, which may be said again: only a turn
   * that runs or that nothing came after is the one meant.
   */
  isNamed: boolean;
  /** The caller's own key-value pairs, kept with the turn. */
  metadata: Record<string, string>;
}

/** Messages that are put into a conversation without asking for a reply: the next one reads them. */
export type ItemsRequest = Pick<TurnRequest, "messages" | "options" | "repeatKey" | "repeatWithinMs" | "isNamed">;

/** Where a fork ends: with a turn, or with an item of it; null for the beginning. */
export interface ForkPoint {
  turn: number | null;
  /** The last item that the fork has of the turn; null for all of it. */
  item: number | null;
}

export interface TurnUsage {
  /** Everything before the reply: history, new messages, template. */
  promptTokens: number;
  /** Of these, not computed again: they were in the restored state. */
  cachedTokens: number;
  completionTokens: number;
  /** Tokens that ran through the model in the attempt that ended the turn. The engine's own count. */
  computedTokens: number;
}

/** What a turn cost to keep. */
export interface TurnStorage {
  stateBytes: number;
  rowsWritten: number;
  bytesWritten: number;
}

export interface TurnView {
  turn: number;
  /** The finished turn it goes on from. */
  parent: number | null;
  branch: number | null;
  kind: TurnKind;
  status: TurnStatus;
  createdMs: number;
  finishedMs: number | null;
  messages: ChatMessage[];
  /** Items whose texts were deleted: 0 is the reply, 1 and up are what it replies to. */
  removedItems: number[];
  options: TurnOptions;
  metadata: Record<string, string>;
  /** The reply so far; whole when the status is final. */
  text: string;
  /** Whether the reply may be a call of a tool. */
  mayCall: boolean;
  /** null until it ended. */
  finishReason: "stop" | "length" | "cancelled" | null;
  state: StateOrigin | null;
  /** Where it ran; null until it has a reply. */
  placement: RanAt | null;
  usage: TurnUsage | null;
  storage: TurnStorage | null;
  error: { code: ErrorCode; message: string } | null;
}

/** Which turns of a branch to list. */
export interface TurnListing {
  /** asc: the oldest first. */
  order: "asc" | "desc";
  /** The first one to list; the first of all when absent. Where it is not in the branch, nothing is listed. */
  from: number | undefined;
  /** At most so many; fewer where they are large. */
  limit: number;
}

/** A turn as lists show it. */
export type ListedTurn = Omit<TurnView, "options" | "metadata">;

export interface TurnPage {
  turns: ListedTurn[];
  /** No turn comes after these. */
  isLast: boolean;
}

/** One line of a turn's stream. The lines of a turn are the same whenever they are read. */
export type TurnEvent =
  | { type: "started"; view: TurnView }
  | {
      type: "token";
      /** 0, 1, 2, … over the tokens of the reply. */
      index: number;
      token: number;
      /** Text released by this token; may be empty. */
      text: string;
      /** UTF-8 of the token by itself, where log-probabilities were asked for. */
      bytes?: number[];
      logProbability?: number;
      top?: { token: number; bytes?: number[]; logProbability: number }[];
    }
  /** The turn's final state; `rest` is text that was still held back. */
  | { type: "ended"; rest: string; view: TurnView };

export interface ConversationView {
  branch: number;
  /** The branch it was forked from. */
  parentBranch: number | null;
  createdMs: number;
  metadata: Record<string, string>;
  /** The last finished turn. */
  head: number | null;
  /** When it was last used. */
  activeMs: number;
  /** How long it is kept then, where that was said. */
  expiresAfterS: number | null;
}

/** What callers may say of a conversation; what is absent stays as it is. */
export interface ConversationChange {
  metadata?: Record<string, string>;
  expiresAfterS?: number | null;
}
