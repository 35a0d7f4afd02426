// What the reply of a turn is held to, as the engine takes it.
import { checkFormat, type Format } from "../engine/constraints/constraint.ts";
import type { TurnOptions } from "./protocol.ts";
import { blamed } from "./tokens.ts";

/** The format of a reply; undefined where any will do. */
export function formatOf({ format }: TurnOptions): Format | undefined {
  return format ?? undefined;
}

/** Throws `invalid_argument` or `unsupported`, blaming `format`, where a reply cannot be held to what is asked for. */
export function checkFormats(options: TurnOptions): void {
  const { format } = options;
  if (format !== null) blamed("format", () => checkFormat(format));
}
