// The one error class. A code is a promise to callers and never changes its meaning;
// the message says what, where, what was expected, what was got, and what to do.

export const errorCodes = [
  "body_too_large", // a request is larger than this service reads
  "cancelled", // the caller's signal was aborted
  "conversation_busy", // the branch, or the turn to go on from, has a reply in progress
  "data_damaged", // stored bytes are not the ones that were written
  "hash_mismatch", // a file's bytes are not the ones its manifest names
  "internal", // a broken invariant of ours, never the caller's fault
  "invalid_argument", // a value passed by the caller is out of range or of the wrong kind
  "invalid_checkpoint", // a checkpoint's file is truncated, malformed or inconsistent
  "invalid_config", // config.json or model.json is malformed
  "invalid_graph", // graph.onnx is malformed or does not fit its weights
  "invalid_state", // a state does not belong to this model or position
  "invalid_api_key", // the request has no key, or one that opens nothing
  "io_failed", // the system refused to read or write a file: no space, no permission, a folder in its place
  "key_reused", // an Idempotency-Key came again with another request
  "model_not_found", // no checkpoint of that name is configured
  "model_too_large", // the model does not fit in the memory allowed
  "moderation_failed", // the operator's moderation service did not answer
  "not_found", // a named file or tensor does not exist
  "origin_away", // the origin was not reached or has no room: it is asked again soon
  "origin_failed", // the origin broke off, refuses us, or answered what cannot be
  "overloaded", // there is not enough memory at the moment: others use it
  "rate_limited", // a key or its tenant has used what it may within this minute, or at once
  "refused", // the operator's moderation does not allow what was said
  "scope_missing", // the key is good, but not for this
  "unsupported", // well-formed, but asks for something this project does not do
] as const;

export type ErrorCode = (typeof errorCodes)[number];

const passing: ReadonlySet<ErrorCode> = new Set([
  "conversation_busy",
  "internal",
  "io_failed",
  "moderation_failed",
  "origin_away",
  "origin_failed",
  "overloaded",
  "rate_limited",
]);

/** Whether the same request may succeed when it comes again. */
export const isPassing = (code: ErrorCode): boolean => passing.has(code);

/** Whether a failure says that what is needed is taken at the moment: nothing is wrong, and it is free again soon. */
export const isTaken = (code: unknown): boolean =>
  code === "conversation_busy" || code === "rate_limited" || code === "overloaded";

/** Any failure this project raises on purpose. Across isolates compare `code`, never `instanceof`. */
export class GriffinError extends Error {
  override readonly name = "GriffinError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
