// What an origin says when it cannot run a turn, in the codes of this project. Its messages speak of the request and of
// limits; those of a fault of its own say nothing, so all of them may be passed on.
import { GriffinError, type ErrorCode } from "../../errors.ts";
import { checkShape, parseJson } from "../../model/parse-json.ts";
import { errorPayload, originAway, originFailed, protocolHeader } from "./protocol.ts";

/** The origin has not got the warm state that it was asked to begin with. */
export class StateNeeded extends GriffinError {}

/** Codes of PROTOCOL.md that are not the origin's own failure. */
const codes: ReadonlyMap<string, ErrorCode> = new Map([
  ["busy", "origin_away"],
  ["invalid_argument", "invalid_argument"],
  ["invalid_state", "invalid_state"],
  ["too_large", "body_too_large"],
]);

/** What holds for every turn, and for how long at least nobody need ask again. */
const restsMs: ReadonlyMap<string, number> = new Map([
  ["busy", 0],
  ["unauthorized", 0],
  ["checkpoint_mismatch", 60_000],
]);

const meanings: ReadonlyMap<string, string> = new Map([
  ["checkpoint_mismatch", "The origin has another checkpoint or graph than this server has of the model. "],
]);

export interface OriginFault {
  error: GriffinError;
  /** So long at least nobody need ask; null where another turn may go well. */
  restMs: number | null;
}

/** The fault in the payload of an `error` frame, or in the body of an error of HTTP. */
export function readFault(payload: Uint8Array, retryAfterMs = 0): OriginFault {
  const name = "the origin's error";
  const json = parseJson(new TextDecoder().decode(payload), name, "origin_failed");
  const { code, message } = checkShape(errorPayload, json, name, "origin_failed").error;
  const said = `${meanings.get(code) ?? ""}The origin says ${code}: ${message}`;
  const Fault = code === "state_needed" ? StateNeeded : GriffinError;
  const restMs = restsMs.get(code);
  return {
    error: new Fault(codes.get(code) ?? "origin_failed", said),
    restMs: restMs === undefined ? null : Math.max(restMs, retryAfterMs),
  };
}

/** The fault in an answer that is no stream of frames; `body` is what could be read of it. */
export function answerFault({ status, headers }: Response, body: Uint8Array): OriginFault {
  if (headers.has(protocolHeader)) return readFault(body, retryAfterMs(headers.get("retry-after")));
  // A proxy whose origin is not there, or not yet, says so in its own words.
  const fault = status >= 500 || status === 404 ? originAway : originFailed;
  return { error: fault(`What answered for the origin, with status ${status}, is no origin.`), restMs: 0 };
}

/** Of seconds; a date is not what an origin says. */
const retryAfterMs = (text: string | null): number =>
  text !== null && /^\d{1,5}$/.test(text) ? Number(text) * 1000 : 0;
