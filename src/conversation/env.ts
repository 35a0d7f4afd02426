// The bindings of the worker, as far as they are used.
import type { Conversation } from "./conversation.ts";

/** An object as its callers see it: every method answers over RPC. */
type Remote<T> = {
  [Key in keyof T]: T[Key] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

export type ConversationStub = Remote<Conversation> & { id: ObjectId };

/** The id of a Durable Object: a hash of its name, so that knowing it opens nothing. */
interface ObjectId {
  toString(): string;
}

export interface Env {
  /** Static files: the page, and the checkpoints that are small enough. */
  ASSETS: { fetch(request: string | Request): Promise<Response> };
  CONVERSATIONS: { idFromName(name: string): ObjectId; get(id: ObjectId): ConversationStub };
  /** Larger checkpoints, where R2 is bound. */
  MODELS_BUCKET?: { get(key: string): Promise<{ body: ReadableStream<Uint8Array> } | null> };
  /** JSON: model id → where its checkpoint lies. See engines.ts. */
  MODELS?: string;
}
