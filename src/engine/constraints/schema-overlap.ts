// Whether schemas exclude each other, so that `oneOf` is the same as `anyOf`: told by types, and by constants in a
// property that all of them require, as unions of objects are commonly told apart.
import { isObject, schemaTypes, type SchemaObject } from "./schema-keywords.ts";

/** true where no value fits two of the schemas; false where that is not seen. `find` follows references. */
export function areApart(schemas: readonly unknown[], find: (pointer: string) => unknown): boolean {
  const resolved = schemas.map((schema) => followed(schema, find));
  if (!resolved.every(isObject)) return false;
  return resolved.every((schema, index) => resolved.slice(0, index).every((other) => isApart(schema, other, find)));
}

function isApart(a: SchemaObject, b: SchemaObject, find: (pointer: string) => unknown): boolean {
  const [ours, theirs] = [constantsOf(a), constantsOf(b)];
  if (ours !== null && theirs !== null) return ours.every((value) => !theirs.includes(value));
  if (!typesOf(a).some((type) => typesOf(b).includes(type))) return true;
  return requiredOf(a)
    .filter((name) => requiredOf(b).includes(name))
    .some((name) => {
      const [mine, other] = [propertyOf(a, name, find), propertyOf(b, name, find)];
      if (!isObject(mine) || !isObject(other)) return false;
      const [values, others] = [constantsOf(mine), constantsOf(other)];
      return values !== null && others !== null && values.every((value) => !others.includes(value));
    });
}

/** The values of `const` or `enum`, as JSON; only of primitive ones that is a comparison. */
function constantsOf({ const: only, enum: some }: SchemaObject): string[] | null {
  const values: unknown[] | null = only !== undefined ? [only] : Array.isArray(some) ? some : null;
  if (values === null || values.some((value) => typeof value === "object" && value !== null)) return null;
  return values.map((value) => JSON.stringify(value));
}

/** An integer is a number. */
function typesOf(schema: SchemaObject): string[] {
  const isPlain = ["$ref", "anyOf", "oneOf", "allOf", "const", "enum"].every(
    (keyword) => schema[keyword] === undefined,
  );
  const isTyped = schema["type"] !== undefined || isPlain;
  const all = isTyped ? schemaTypes(schema["type"] === undefined ? {} : schema, "") : schemaTypes({}, "");
  return all.map((type) => (type === "integer" ? "number" : type));
}

const requiredOf = ({ type, required }: SchemaObject): unknown[] =>
  type === "object" && Array.isArray(required) ? required : [];

function propertyOf({ properties }: SchemaObject, name: unknown, find: (pointer: string) => unknown): unknown {
  if (!isObject(properties) || typeof name !== "string" || !Object.hasOwn(properties, name)) return undefined;
  return followed(properties[name], find);
}

function followed(schema: unknown, find: (pointer: string) => unknown): unknown {
  let found = schema;
  for (let steps = 0; steps < 8 && isObject(found) && typeof found["$ref"] === "string"; steps++) {
    found = find(found["$ref"]);
  }
  return found;
}
