// One line of JSON for each request, when its answer begins: ids, status, milliseconds. Nothing a user wrote. What
// becomes of a turn is told by its object, for a client may be long gone by then.
import { loggableError } from "./errors.ts";

export interface RequestLog {
  readonly requestId: string;
  /** Adds to the line. */
  add(fields: Record<string, unknown>): void;
  /** Writes the line. */
  end(): void;
  /** Writes one more: the answer had begun, and could not be brought to its end. */
  breakOff(error: unknown): void;
}

/** `write` gets the lines. */
export function createRequestLog(write: (line: string) => void): RequestLog {
  const requestId = `req_${crypto.randomUUID().replaceAll("-", "")}`;
  const startMs = Date.now();
  const added: Record<string, unknown> = {};
  const writeLine = (event: string, fields: Record<string, unknown>) =>
    write(JSON.stringify({ event, request: requestId, ...added, ...fields, ms: Date.now() - startMs }));
  return {
    requestId,
    add: (fields) => void Object.assign(added, fields),
    end: () => writeLine("request", {}),
    breakOff: (error) => writeLine("request_broke_off", loggableError(error)),
  };
}
