// What crosses between the HTTP layer and the objects of hooks: plain data only.
import type { TurnOptions } from "../conversation/protocol.ts";
import type { SigningSecretView } from "../outbox/protocol.ts";

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

/** Why a hook takes no posts: what became of the key that made it. no_key: there is none, and the server asks for keys. */
export const closedReasons = ["key_revoked", "key_expired", "key_may_not_write", "key_deleted", "no_key"] as const;
export type ClosedReason = (typeof closedReasons)[number];

export interface HookView extends Omit<NewHook, "secret" | "tenant" | "key"> {
  createdMs: number;
  updatedMs: number;
  secretHint: string;
  /** Until then the secret before the last rotation is good as well. */
  previousUntilMs: number | null;
  /** null while it is open. */
  closed: ClosedReason | null;
  /** What signs replies to a callback; null where there is none. */
  signing: SigningSecretView | null;
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

export interface DeliveryView {
  /** As the service calls it. */
  id: string;
  /** What tells it from others, whatever it is called. */
  digest: string;
  status: DeliveryStatus;
  createdMs: number;
  finishedMs: number | null;
  /** Ids on the wire; null where there is none. */
  conversation: string | null;
  response: string | null;
  error: { code: string; message: string } | null;
  reply: ReplyStatus;
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
