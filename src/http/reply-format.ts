// The format of a reply as callers ask for it: `response_format` of chat completions, `text.format` of responses, and
// vLLM's `structured_outputs`, which has patterns and choices too. Whether a schema or a pattern can be held to is for
// the engine to say; what it refuses is given the name of the field here.
import { z } from "zod";
import type { ReplyFormat } from "../conversation/protocol.ts";
import { blameOf, codeOf, requestError } from "./errors.ts";
import { written } from "./openapi/written.ts";
import { typedUnion } from "./typed-union.ts";

const givenSchema = written(
  z.custom<object | boolean>(
    (value) => typeof value === "boolean" || (typeof value === "object" && value !== null && !Array.isArray(value)),
    "expected a JSON Schema",
  ),
  { type: ["object", "boolean"] },
);

const named = {
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, "expected 1 to 64 letters, digits, underscores and dashes"),
  description: z.string().max(10_000).nullish(),
  strict: z.boolean().nullish(),
};
const plain = [z.object({ type: z.literal("text") }), z.object({ type: z.literal("json_object") })] as const;

const types = ["text", "json_object", "json_schema"];

/** `response_format` of chat completions. */
export const responseFormat = typedUnion(
  types,
  z.discriminatedUnion("type", [
    ...plain,
    z.object({ type: z.literal("json_schema"), json_schema: z.object({ ...named, schema: givenSchema.nullish() }) }),
  ]),
);

/** `text.format` of responses. */
export const textFormat = typedUnion(
  types,
  z.discriminatedUnion("type", [...plain, z.object({ type: z.literal("json_schema"), ...named, schema: givenSchema })]),
);

/** vLLM's field: one of its kinds. */
export const structuredOutputs = z
  .strictObject({
    json: z.union([z.string(), givenSchema]).nullish(),
    json_object: z.literal(true).nullish(),
    regex: z.string().nullish(),
    choice: z.array(z.string().min(1)).min(1).nullish(),
  })
  .refine((kinds) => Object.values(kinds).filter((kind) => kind !== undefined && kind !== null).length === 1, {
    message: "expected one of json, json_object, regex and choice",
  });

interface Asked {
  response_format?: z.infer<typeof responseFormat> | null;
  text?: { format?: z.infer<typeof textFormat> | null } | null;
  structured_outputs?: z.infer<typeof structuredOutputs> | null;
}

export interface AskedFormat {
  /** null for any text. */
  format: ReplyFormat | null;
  /** The field that asks for it. */
  param: string;
}

/** The format that a request asks for. Fails where it asks for two, or for JSON that is none. */
export function formatOf({ response_format: chat, text, structured_outputs: structured }: Asked): AskedFormat {
  const asked = chat ? fromChat(chat) : fromText(text?.format ?? { type: "text" });
  if (!structured) return asked;
  if (asked.format !== null) {
    const message = "structured_outputs: expected one format, got two.";
    throw requestError("invalid_argument", message, "structured_outputs");
  }
  return fromStructured(structured);
}

function fromChat(asked: z.infer<typeof responseFormat>): AskedFormat {
  if (asked.type !== "json_schema") return plainFormat(asked.type, "response_format");
  const { schema: given, ...names } = asked.json_schema;
  return { format: jsonSchema(given ?? true, names), param: "response_format.json_schema.schema" };
}

function fromText(asked: z.infer<typeof textFormat>): AskedFormat {
  if (asked.type !== "json_schema") return plainFormat(asked.type, "text.format");
  return { format: jsonSchema(asked.schema, asked), param: "text.format.schema" };
}

const field = (name: string) => `structured_outputs.${name}`;

function fromStructured({ json, regex, choice }: z.infer<typeof structuredOutputs>): AskedFormat {
  if (typeof regex === "string") return { format: { type: "regex", pattern: regex }, param: field("regex") };
  if (choice) return { format: { type: "choice", choices: choice }, param: field("choice") };
  if (json === undefined || json === null) return plainFormat("json_object", field("json_object"));
  const given: unknown = typeof json === "string" ? parsed(json, field("json")) : json;
  return { format: jsonSchema(given, {}), param: field("json") };
}

const plainFormat = (type: "text" | "json_object", param: string): AskedFormat => ({
  format: type === "text" ? null : { type },
  param,
});

function jsonSchema(
  given: unknown,
  { name, description, strict }: { name?: string; description?: string | null; strict?: boolean | null },
): ReplyFormat {
  const names = { name: name ?? null, description: description ?? null, strict: strict ?? null };
  return { type: "json_schema", schema: JSON.stringify(given), ...names };
}

function parsed(text: string, param: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw requestError("invalid_argument", `${param}: expected JSON.`, param);
  }
}

/** A format as responses say it again; patterns and choices are not among OpenAI's. */
export function wireTextFormat(format: ReplyFormat | null) {
  if (format?.type === "json_object") return { type: format.type };
  if (format?.type !== "json_schema" || format.name === null) return { type: "text" as const };
  const { type, name, description, strict } = format;
  const schema = JSON.parse(format.schema) as Record<string, unknown>;
  return { type, name, ...(description !== null && { description }), strict, schema };
}

/** Gives what an object refuses of a turn's options the name of the field: `fields` are its names by ours. */
export async function namingFields<T>(answer: Promise<T>, fields: (ours: string) => string | undefined): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const name = fields(blameOf(error)?.param ?? "");
    if (name === undefined || !(error instanceof Error)) throw error;
    throw requestError(codeOf(error), `${name}: ${error.message}`, name);
  }
}
