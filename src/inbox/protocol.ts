// What crosses between the HTTP layer and the objects of hooks: plain data only.
import type { TurnOptions } from "../conversation/protocol.ts";
import type { Attempt, SigningSecretView } from "../outbox/protocol.ts";

/** The largest post that is read. */
export const mostPostBytes = 2 ** 18;

/** How a service signs what it posts. */
export const verifications = ["standard", "github", "slack"] as const;
export type Verification = (typeof verifications)[number];

/** Where replies go: nowhere, to an address, or to the one that Slack gives with a command. */
export type ReplyTo = { type: "none" } | { type: "callback"; url: string } | { type: "slack" };

/** What may be changed of a hook. */
export interface HookSettings {
  name: string;
  /** Of its turns; what differs from turn to turn is filled in for each. */
  options: TurnOptions;
  instructions: string | null;
  /** Template: posts with the same key go on with the same conversation. null: all posts do. */
  conversationKey: string | null;
  /** Template: what the model is told. */
  input: string;
  replyTo: ReplyTo;
}

export interface NewHook extends HookSettings {
  /** On the wire. */
  id: string;
  /** "" where the server is open, and then there is no key. */
  tenant: string;
  /** Of the tenant, which made the hook: each turn is let in as a request of it. */
  key: number | null;
  verification: Verification;
  secret: string;
}

export interface HookView extends Omit<NewHook, "secret" | "tenant" | "key"> {
  createdMs: number;
  updatedMs: number;
  secretHint: string;
  /** Until then the secret before the last rotation is good as well. */
  previousUntilMs: number | null;
  /** What signs replies; null where there are none. */
  signing: SigningSecretView | null;
  /** false: the key that made it may ask for nothing any more, and so nothing is taken here. */
  isOpen: boolean;
}

/** What was posted: its bytes, and the headers that say who did. */
export interface Post {
  body: Uint8Array;
  headers: Record<string, string>;
}

/** queued and in_progress are not final. ignored: the template left nothing to say. */
export type DeliveryStatus = "queued" | "in_progress" | "completed" | "failed" | "ignored";

/** none: nobody is to have it. no_address: Slack gave none. pending: until who delivers it has it. */
export type ReplyStatus = "none" | "no_address" | "pending" | "handed_over";
/** What came of a reply that was handed over; handed_over: that was long ago, and is forgotten. */
export type ReplyOutcome = ReplyStatus | "delivered" | "failed";

export interface DeliveryView {
  /** As the service calls it. */
  id: string;
  status: DeliveryStatus;
  createdMs: number;
  finishedMs: number | null;
  /** Ids on the wire; null where there is none. */
  conversation: string | null;
  response: string | null;
  error: { code: string; message: string } | null;
  reply: ReplyOutcome;
  /** How it was told, the oldest attempt first. */
  replyAttempts: Attempt[];
}

export interface DeliveryListing {
  status: DeliveryStatus | null;
  /** Id of the one before the first. */
  after: string | null;
  limit: number;
}

/** What becomes of a post. */
export type Receipt =
  /** The same one again is the same delivery. */
  | { status: "accepted"; delivery: DeliveryView; verification: Verification }
  /** Slack asks whether this is the address. */
  | { status: "challenge"; challenge: string }
  /** There is no such hook, nobody who knows its secret signed this, or the hook's key is good for nothing any more. */
  | { status: "refused" }
  /** It is signed, and is nothing that the hook can read. */
  | { status: "malformed"; message: string }
  /** Too much is waiting. */
  | { status: "full"; retryAfterMs: number };
