// Reading JSON that others wrote: text to value, value to a zod schema, and the first misfit named in one sentence.
import type { z } from "zod";
import { type ErrorCode, GriffinError } from "../errors.ts";

const textLimit = 80;

function show(value: unknown): string {
  const text = value === undefined ? "nothing" : (JSON.stringify(value) ?? String(value));
  return text.length > textLimit ? `${text.slice(0, textLimit)}…` : text;
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    value,
  );
}

/** `value` as the schema's type; else an error with `code` that names the key in `file`, the expectation and what it got. */
export function checkShape<T>(schema: z.ZodType<T>, value: unknown, file: string, code: ErrorCode): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path ?? [];
  const where = path.length === 0 ? file : `${file}: "${path.join(".")}"`;
  const expected = (issue?.message ?? "").replace(/^Invalid input: |, received .*$/g, "");
  throw new GriffinError(code, `${where}: ${expected}, got ${show(at(value, path))}.`);
}

/** The value of JSON text; else an error with `code` that names `file`. */
export function parseJson(text: string, file: string, code: ErrorCode): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new GriffinError(code, `${file} is not valid JSON: ${cause instanceof Error ? cause.message : cause}.`, {
      cause,
    });
  }
}
