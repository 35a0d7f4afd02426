// A result of a line as it stands in the output or the error file, in OpenAI's form.
import type { Fault, LineResult } from "./protocol.ts";

/** What a line's request was answered. */
export interface LineAnswer {
  status: number;
  requestId: string;
  body: unknown;
}

/** The id of a line's request, the same however often it is run. */
const requestId = (batch: string, line: number) => `${batch.replace(/^batch_/, "batch_req_")}_${line + 1}`;

/** A line that was answered: refusals are among the errors. */
export function answeredLine(batch: string, line: number, customId: string, answer: LineAnswer): LineResult {
  const { status, requestId: request, body } = answer;
  const response = { status_code: status, request_id: request, body };
  const text = textOf({ id: requestId(batch, line), custom_id: customId, response, error: null });
  return { line, kind: status < 400 ? "output" : "errors", text };
}

/** A line that was not answered. */
export function failedLine(
  batch: string,
  line: number,
  customId: string | null,
  { code, message, ...where }: Pick<Fault, "code" | "message"> & Partial<Fault>,
): LineResult {
  const error = { code, message, ...where };
  const text = textOf({ id: requestId(batch, line), custom_id: customId, response: null, error });
  return { line, kind: "errors", text };
}

const textOf = (value: object) => `${JSON.stringify(value)}\n`;
