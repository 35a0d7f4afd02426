// What an origin says when it cannot run a turn, in the codes of this project. Its messages speak of the request and of
// limits; those of a fault of its own say nothing, so all of them may be passed on.
import { GriffinError, type ErrorCode } from "../../errors.ts";
import { checkShape, parseJson } from "../../model/parse-json.ts";
import { errorPayload, originFailed, protocolHeader } from "./protocol.ts";

/** The origin has not got the warm state that it was asked to begin with. */
export class StateNeeded extends GriffinError {}

/** Codes of PROTOCOL.md that are about the request; all others are the origin's own. */
const codes: ReadonlyMap<string, ErrorCode> = new Map([
  ["invalid_argument", "invalid_argument"],
  ["invalid_state", "invalid_state"],
  ["checkpoint_mismatch", "hash_mismatch"],
  ["too_large", "body_too_large"],
]);

/** What lasts, and costs everybody who asks. */
const leftAlone: ReadonlySet<string> = new Set(["busy", "unauthorized"]);

export interface OriginFault {
  error: GriffinError;
  /** It has no room, is none, or does not let us in: nobody need ask for now. */
  isBusy: boolean;
  /** So long it asks to be left alone. */
  retryAfterMs: number;
}

/** The fault in the payload of an `error` frame, or in the body of an error of HTTP. */
export function readFault(payload: Uint8Array, retryAfterMs = 0): OriginFault {
  const name = "the origin's error";
  const json = parseJson(new TextDecoder().decode(payload), name, "origin_failed");
  const { code, message } = checkShape(errorPayload, json, name, "origin_failed").error;
  const said = `The origin says ${code}: ${message}`;
  const Fault = code === "state_needed" ? StateNeeded : GriffinError;
  return { error: new Fault(codes.get(code) ?? "origin_failed", said), isBusy: leftAlone.has(code), retryAfterMs };
}

/** The fault in an answer that is no stream of frames; `body` is what could be read of it. */
export function answerFault({ status, headers }: Response, body: Uint8Array): OriginFault {
  if (!headers.has(protocolHeader)) {
    const error = originFailed(`What answered for the origin, with status ${status}, is no origin.`);
    return { error, isBusy: true, retryAfterMs: 0 };
  }
  return readFault(body, retryAfterMs(headers.get("retry-after")));
}

/** Of seconds; a date is not what an origin says. */
const retryAfterMs = (text: string | null): number =>
  text !== null && /^\d{1,5}$/.test(text) ? Number(text) * 1000 : 0;
