// The bindings that files and batches need besides those of conversations. workerd alone has neither R2 nor Queues: there
// both are absent, and the routes say so.
import type { Env } from "../conversation/env.ts";
import type { Namespace, Remote } from "../outbox/env.ts";
import type { Batch } from "./batch.ts";
import type { BatchMessage } from "./protocol.ts";
import type { BatchRegistry } from "./registry.ts";

/** An object of R2. */
interface StoredFile {
  size: number;
  body: ReadableStream<Uint8Array>;
  arrayBuffer(): Promise<ArrayBuffer>;
}

interface UploadedPart {
  partNumber: number;
  etag: string;
}

/** What is used of an R2 bucket. */
export interface FileBucket {
  get(key: string, options?: { range: { offset: number; length: number } }): Promise<StoredFile | null>;
  put(key: string, value: Uint8Array): Promise<unknown>;
  delete(keys: string[]): Promise<void>;
  createMultipartUpload(key: string): Promise<{
    uploadPart(partNumber: number, value: Uint8Array): Promise<UploadedPart>;
    complete(parts: UploadedPart[]): Promise<unknown>;
    abort(): Promise<void>;
  }>;
}

export interface BatchEnv extends Env {
  BATCHES: Namespace<Remote<Batch>>;
  BATCH_REGISTRIES: Namespace<Remote<BatchRegistry>>;
  /** R2: what is uploaded, and what batches write. */
  FILES?: FileBucket;
  /** Queues: which lines of which batch are to be run. */
  BATCH_QUEUE?: { sendBatch(messages: { body: BatchMessage }[]): Promise<unknown> };
}
