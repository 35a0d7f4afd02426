// Schemas as JSON Schema, and those that begin with code, so that zod cannot tell what callers may write.
import { z } from "zod";

/** The schema, with what callers write as JSON Schema for the OpenAPI document. */
export const written = <T extends z.ZodType>(schema: T, form: Record<string, unknown>): T =>
  schema.meta({ written: form });

/** A schema as JSON Schema: of what goes into it, or of what comes out. */
export function jsonForm(schema: z.ZodType, io: "input" | "output" = "input"): Record<string, unknown> {
  const form: Record<string, unknown> = z.toJSONSchema(schema, {
    io,
    unrepresentable: "any",
    override: ({ jsonSchema }) => asWritten(jsonSchema),
  });
  delete form["$schema"];
  return form;
}

/** Puts the form that `written` gave a schema in the place of the one that zod found. */
function asWritten(made: Record<string, unknown>): void {
  const { written: form, description } = made;
  if (typeof form !== "object") return;
  for (const key of Object.keys(made)) delete made[key];
  Object.assign(made, form, description !== undefined && { description });
}
