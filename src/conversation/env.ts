// The bindings of the worker, as far as they are used.
import type { OriginEnv } from "../engine/origin/settings.ts";
import type { Conversation } from "./conversation.ts";
import type { Namespace, ObjectId, OutboxEnv, Remote } from "../outbox/env.ts";
import type { TenantDirectory } from "../tenant/directory.ts";
import type { Tenant } from "../tenant/tenant.ts";
import type { NamedRequest } from "./named-request.ts";

export type ConversationStub = Remote<Conversation> & { id: ObjectId };

export interface Env extends OutboxEnv, OriginEnv {
  /** Static files: the page, and the checkpoints that are small enough. */
  ASSETS: { fetch(request: string | Request): Promise<Response> };
  CONVERSATIONS: Namespace<ConversationStub>;
  NAMED_REQUESTS: Namespace<Remote<NamedRequest>>;
  TENANTS: Namespace<Remote<Tenant>>;
  TENANT_DIRECTORY: Namespace<Remote<TenantDirectory>>;
  /** "open": nobody needs a key. Anything else: everybody does. */
  ACCESS?: string;
  /** Secret: the key of /v1/admin, with which tenants and their keys are made. Visible ASCII. */
  ADMIN_KEY?: string;
  /** Secret: what API keys are sealed with, ADMIN_KEY unless set; see keySecretOf. Another one ends all keys. */
  KEY_SECRET?: string;
  /** Larger checkpoints, where R2 is bound. */
  MODELS_BUCKET?: { get(key: string): Promise<{ body: ReadableStream<Uint8Array> } | null> };
  /** JSON: what is moderated and where. See moderation.ts; absent for no moderation. */
  MODERATION?: string;
  /** Secret that the moderation service asks for. */
  MODERATION_KEY?: string;
  /** The moderation service, where it is a worker. */
  MODERATOR?: { fetch(url: string, init: RequestInit): Promise<Response> };
  /** The origin, where the worker cannot reach it by itself. */
  ORIGIN?: { fetch(url: string, init: RequestInit): Promise<Response> };
  /** Who runs this server and how to reach them, for /transparency. */
  OPERATOR?: string;
  /** Days that conversations and responses are kept after they were last used: 30 unless told, 0 for ever. */
  RETENTION_DAYS?: string;
  /** What models may take of an isolate's memory, in units of 2^20 bytes: 96 unless told. */
  MODEL_MEMORY_MB?: string;
  /** JSON: model id → where its checkpoint lies. See engines.ts. */
  MODELS?: string;
}
