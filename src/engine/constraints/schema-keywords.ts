// The keywords of JSON Schema: which there are, which say nothing about a value, and how the others' values are read.
import { GriffinError } from "../../errors.ts";

export type SchemaObject = Readonly<Record<string, unknown>>;

const types = ["null", "boolean", "integer", "number", "string", "array", "object"] as const;
export type SchemaType = (typeof types)[number];

/**
 * Keywords that say nothing about which values fit, OpenAPI's two among them: null need not be written where it may be,
 * and a discriminator repeats what its schemas say. Names that begin with x- are too.
 */
export const annotations: ReadonlySet<string> = new Set([
  "$schema",
  "$id",
  "$comment",
  "$defs",
  "definitions",
  "title",
  "description",
  "default",
  "example",
  "examples",
  "deprecated",
  "discriminator",
  "nullable",
  "readOnly",
  "writeOnly",
  "contentEncoding",
  "contentMediaType",
]);

/** Keywords of one type, by which it is recognised where a schema has no `type`. */
const ofType: Partial<Record<SchemaType, readonly string[]>> = {
  object: [
    "properties",
    "required",
    "additionalProperties",
    "unevaluatedProperties",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
  ],
  array: [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
  ],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
};

/** Of these the ones that are not held to; false asks for nothing. */
export const unsupportedKeywords: Partial<Record<SchemaType, readonly string[]>> = {
  object: ["patternProperties", "dependentRequired", "dependentSchemas", "dependencies"],
  array: ["uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems"],
};

const others = ["type", "const", "enum", "$ref", "anyOf", "oneOf", "allOf"];
const known: ReadonlySet<string> = new Set([...others, ...Object.values(ofType).flat()]);

/** The keywords of a schema that say which values fit. Throws `unsupported` on one that is not known here. */
export function keywordsOf(schema: SchemaObject, at: string): ReadonlySet<string> {
  const keywords = Object.keys(schema).filter(
    (keyword) => !annotations.has(keyword) && !keyword.startsWith("x-") && schema[keyword] !== undefined,
  );
  if (at !== "" && at !== "#" && schema["$id"] !== undefined) throw unsupported(at, "$id");
  const strange = keywords.find((keyword) => !known.has(keyword));
  if (strange !== undefined) throw unsupported(at, strange.slice(0, 64));
  return new Set(keywords);
}

/** The types that values may have. Without `type` those whose keywords are there, or all. */
export function schemaTypes(schema: SchemaObject, at: string): readonly SchemaType[] {
  const { type } = schema;
  if (type !== undefined) {
    const names = Array.isArray(type) ? (type as unknown[]) : [type];
    const found = names.map((name) => types.find((each) => each === name));
    if (!found.every((each) => each !== undefined)) {
      throw invalid(`${at}/type`, `expected one or more of ${types.join(", ")}`);
    }
    return found;
  }
  const told = types.filter((each) => ofType[each]?.some((keyword) => schema[keyword] !== undefined));
  return told.length > 0 ? told : types.filter((each) => each !== "integer");
}

/** A JSON object. */
export const isObject = (value: unknown): value is SchemaObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A whole number from 0. */
export function count(value: unknown, at: string): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw invalid(at, "expected a whole number from 0");
}

export function number(value: unknown, at: string): number | undefined {
  if (value === undefined || typeof value === "number") return value;
  throw invalid(at, "expected a number");
}

export function array(value: unknown, at: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  throw invalid(at, "expected a list");
}

export function map(value: unknown, at: string): SchemaObject | undefined {
  if (value === undefined || isObject(value)) return value;
  throw invalid(at, "expected an object");
}

const invalid = (at: string, what: string) => new GriffinError("invalid_argument", `Schema at ${at || "/"}: ${what}.`);
const unsupported = (at: string, what: string) =>
  new GriffinError("unsupported", `Schema at ${at || "/"}: the keyword ${what}: not supported.`);
