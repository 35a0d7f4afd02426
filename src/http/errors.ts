// Errors on the wire: {"error": {message, type, param, code}} as OpenAI's clients expect, and the status of every code.
// Faults of ours say nothing of their cause: a message may quote what was being read.
import { errorCodes, GriffinError, isPassing, type ErrorCode } from "../errors.ts";
import { retryAfterMs } from "../tenant/quota.ts";

/** HTTP status of every code. */
export const statusOf = {
  body_too_large: 413,
  cancelled: 499,
  conversation_busy: 409,
  data_damaged: 500,
  hash_mismatch: 500,
  internal: 500,
  invalid_argument: 400,
  invalid_checkpoint: 500,
  invalid_config: 500,
  invalid_graph: 500,
  invalid_state: 400,
  invalid_api_key: 401,
  io_failed: 500,
  key_reused: 422,
  model_not_found: 404,
  model_too_large: 503,
  moderation_failed: 503,
  not_found: 404,
  origin_away: 503,
  origin_failed: 503,
  overloaded: 503,
  rate_limited: 429,
  refused: 400,
  scope_missing: 403,
  unsupported: 400,
} as const satisfies Record<ErrorCode, number>;

/** What an error says of the request, as its `cause`. */
interface Blame {
  /** Path of the field at fault: `messages[0].role`. */
  param: string | null;
  /** Replaces the error's code on the wire. */
  wireCode?: string;
}

export interface WireError {
  message: string;
  type: "invalid_request_error" | "server_error";
  param: string | null;
  code: string;
}

/** A failure that one field of the request is to blame for. */
export function requestError(code: ErrorCode, message: string, param: string | null, wireCode?: string): GriffinError {
  const blame: Blame = { param, wireCode };
  return new GriffinError(code, message, { cause: blame });
}

/** The code of any thrown value; `internal` for what was not raised on purpose. Codes survive RPC, classes do not. */
export function codeOf(error: unknown): ErrorCode {
  const code: unknown = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  return errorCodes.find((known) => known === code) ?? "internal";
}

/** What a client may know of a failure. */
export function wireError(error: unknown): WireError {
  const code = codeOf(error);
  const blame = blameOf(error);
  const isOurs = statusOf[code] === 500;
  return {
    message: isOurs || !(error instanceof Error) ? "The server failed to answer this request." : error.message,
    type: statusOf[code] >= 500 ? "server_error" : "invalid_request_error",
    param: blame?.param ?? null,
    code: blame?.wireCode ?? (code === "rate_limited" ? "rate_limit_exceeded" : code),
  };
}

/** To an origin that is away a request may come again so soon. */
const originRetryMs = 5_000;

/** The answer to a request that failed. */
export function errorResponse(error: unknown, headers: Record<string, string> = {}, status?: number): Response {
  const code = codeOf(error);
  return Response.json(
    { error: wireError(error) },
    {
      status: status ?? statusOf[code],
      headers: {
        ...(!isPassing(code) && { "x-should-retry": "false" }),
        // Unless told, it is the tokens of this minute that are used up.
        ...(code === "rate_limited" && retryHeaders(retryAfterMs("tokens", Date.now()))),
        // How long an origin is left alone is known where it failed; asked before that, it costs nothing.
        ...(code === "origin_away" && retryHeaders(originRetryMs)),
        ...headers,
      },
    },
  );
}

/** When to ask again. */
export const retryHeaders = (ms: number) => ({
  "retry-after": String(Math.ceil(ms / 1000)),
  "retry-after-ms": String(ms),
});

/**
 * What the log may know of a failure: of the operator's files, the message, which speaks of nothing else; of a bug,
 * where it happened.
 */
export function loggableError(error: unknown): Record<string, unknown> {
  const code = codeOf(error);
  if (statusOf[code] < 500) return { error_code: code };
  const ours = error instanceof Error ? error : undefined;
  if (code !== "internal") return { error_code: code, error_message: ours?.message };
  const frames = ours?.stack?.split("\n").filter((line) => /^\s+at /.test(line));
  return { error_code: code, error_name: ours?.name, error_stack: frames?.map((line) => line.trim()) };
}

/** What an error blames; undefined for one that blames nothing. */
export function blameOf(error: unknown): Blame | undefined {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  if (typeof cause !== "object" || cause === null || !("param" in cause)) return;
  const { param } = cause;
  if (param !== null && typeof param !== "string") return;
  const wireCode = "wireCode" in cause && typeof cause.wireCode === "string" ? cause.wireCode : undefined;
  return { param, wireCode };
}
