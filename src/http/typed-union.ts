// Things of which each says its type: those of a type that this server does not do are refused as unsupported, by the
// name of the field, and not as wrong.
import { z } from "zod";
import { jsonForm, written } from "./openapi/written.ts";
import { unsupported } from "./read-body.ts";

/** A union told apart by `type`. `unless`: the type of what says none. */
export function typedUnion<T>(types: readonly string[], union: z.ZodType<T>, unless?: string): z.ZodType<T> {
  const known = z.looseObject({ type: z.string() }).refine(({ type }) => types.includes(type), {
    message: `only ${types.join(", ")} ${types.length > 1 ? "are" : "is"} supported`,
    path: ["type"],
    ...unsupported,
  });
  const filled = z.unknown().transform((value) => (unless === undefined ? value : withType(value, unless)));
  return written(filled.pipe(known as z.ZodType<unknown>).pipe(union as z.ZodType<T, unknown>), jsonForm(union));
}

function withType(value: unknown, type: string): unknown {
  const isTyped = typeof value !== "object" || value === null || Array.isArray(value) || Reflect.has(value, "type");
  return isTyped ? value : { ...value, type };
}
