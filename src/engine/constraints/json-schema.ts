// JSON Schema (2020-12, and what draft 7 calls the same things) as an expression of texts that validate. Not every text
// that validates: properties come in the schema's order, none but the named ones are written, and numbers are short.
// What cannot be held to is refused, never ignored. https://json-schema.org/draft/2020-12/json-schema-validation
import { GriffinError } from "../../errors.ts";
import type { CharSet } from "./char-set.ts";
import { choice, countsOf, nothing, rule, type Expression } from "./expression.ts";
import {
  anyBoolean,
  anyInteger,
  anyNumber,
  anyValue,
  arrayOf,
  exactly,
  mapOf,
  objectOf,
  quoted,
  shared,
  stringCharacter,
  stringOf,
} from "./json-text.ts";
import { integerWithin, numberWithin } from "./number-range.ts";
import { regex } from "./regex.ts";
import { areApart } from "./schema-overlap.ts";
import {
  annotations,
  array,
  count,
  isObject,
  keywordsOf,
  map,
  number,
  schemaTypes,
  unsupportedKeywords,
  type SchemaObject,
  type SchemaType,
} from "./schema-keywords.ts";
import { formatPatterns } from "./string-formats.ts";

/** Schemas within schemas. */
const mostDepth = 100;
const mostAlternatives = 500;
/** Schemas looked at, references counted as often as they are followed. */
const mostSchemas = 2_000;

/** Texts that validate against a schema. Throws `invalid_argument` and `unsupported`, naming the place. */
export function jsonSchema(schema: unknown): Expression {
  return new Converter(schema).convert(schema, "", 0, new Set());
}

class Converter {
  readonly #root: unknown;
  readonly #rules = new Map<string, Expression>();
  /** Strings and numbers that are alike are there once. */
  readonly #leaves = new Map<string, Expression>();
  #schemas = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  /** `open`: references that lead here without a byte between; to one of them there is no end. */
  convert(schema: unknown, at: string, depth: number, open: ReadonlySet<string>): Expression {
    if (++this.#schemas > mostSchemas) throw unsupported("", `more than ${mostSchemas} schemas`);
    if (schema === true) return anyValue;
    if (schema === false) return nothing;
    if (!isObject(schema)) throw invalid(at, "expected a schema: an object, true or false");
    if (depth > mostDepth) throw unsupported(at, `schemas are at most ${mostDepth} deep`);
    const keywords = keywordsOf(schema, at);
    if (keywords.has("$ref")) return this.#reference(schema, at, depth, open, keywords);
    for (const combine of ["anyOf", "oneOf", "allOf"] as const) {
      if (keywords.has(combine)) return this.#combined(combine, schema, at, depth, open, keywords);
    }
    if (keywords.has("const")) return this.#listed([schema["const"]], schema, at, keywords, "const");
    if (keywords.has("enum")) {
      return this.#listed(array(schema["enum"], `${at}/enum`), schema, at, keywords, "enum");
    }
    return choice(...schemaTypes(schema, at).map((type) => this.#typed(type, schema, at, depth)));
  }

  #reference(
    schema: SchemaObject,
    at: string,
    depth: number,
    open: ReadonlySet<string>,
    keywords: ReadonlySet<string>,
  ): Expression {
    alone("$ref", keywords, at);
    const pointer = schema["$ref"];
    if (typeof pointer !== "string") throw invalid(`${at}/$ref`, "expected a text");
    if (!/^#(\/|$)/.test(pointer)) throw unsupported(`${at}/$ref`, "references lead into the schema itself: #/$defs/…");
    if (open.has(pointer)) throw invalid(`${at}/$ref`, "this reference leads back to itself");
    const known = this.#rules.get(pointer);
    // Where one may be open, it is looked through again: only so is a circle of references found.
    if (known !== undefined && open.size === 0) return known;
    const own = rule();
    const expression: Expression = known ?? { kind: "rule", rule: own };
    this.#rules.set(pointer, expression);
    const body = this.convert(this.#find(pointer, at), pointer, depth + 1, new Set([...open, pointer]));
    if (known === undefined) own.body = body;
    return expression;
  }

  #find(pointer: string, at: string): unknown {
    let found = this.#root;
    for (const part of pointer.split("/").slice(1)) {
      const key = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) {
        throw invalid(`${at}/$ref`, "there is nothing where this reference leads");
      }
      found = Reflect.get(found, key);
    }
    return found;
  }

  #combined(
    combine: "anyOf" | "oneOf" | "allOf",
    schema: SchemaObject,
    at: string,
    depth: number,
    open: ReadonlySet<string>,
    keywords: ReadonlySet<string>,
  ): Expression {
    alone(combine, keywords, at);
    const parts = array(schema[combine], `${at}/${combine}`);
    if (parts.length === 0) throw invalid(`${at}/${combine}`, "expected at least one schema");
    if (parts.length > mostAlternatives) throw unsupported(`${at}/${combine}`, `at most ${mostAlternatives} schemas`);
    if (parts.length > 1 && combine === "allOf") {
      throw unsupported(`${at}/allOf`, "more than one schema at once: write them as one");
    }
    if (combine === "oneOf" && !areApart(parts, (pointer) => this.#find(pointer, at))) {
      const how = "schemas of different types, or objects with different constants in a required property";
      throw unsupported(`${at}/oneOf`, `schemas that one value may fit together: only ${how}, or anyOf`);
    }
    return choice(...parts.map((part, i) => this.convert(part, `${at}/${combine}/${i}`, depth + 1, open)));
  }

  #listed(
    values: readonly unknown[],
    schema: SchemaObject,
    at: string,
    keywords: ReadonlySet<string>,
    keyword: string,
  ): Expression {
    for (const other of keywords) {
      if (other !== keyword && other !== "type") throw unsupported(at, `${other} beside ${keyword}`);
    }
    if (values.length === 0) throw invalid(`${at}/enum`, "expected at least one value");
    if (values.length > mostAlternatives) throw unsupported(`${at}/enum`, `at most ${mostAlternatives} values`);
    const types = keywords.has("type") ? schemaTypes(schema, at) : null;
    const fitting = values.filter((value) => types === null || types.some((type) => isOfType(value, type)));
    return choice(...fitting.map(exactly));
  }

  #typed(type: SchemaType, schema: SchemaObject, at: string, depth: number): Expression {
    for (const keyword of unsupportedKeywords[type] ?? []) {
      if (schema[keyword] !== undefined && schema[keyword] !== false)
        throw unsupported(`${at}/${keyword}`, "this keyword");
    }
    if (type === "null") return exactly(null);
    if (type === "boolean") return anyBoolean;
    if (type === "string") return this.#leaf(type, schema, () => stringSchema(schema, at));
    if (type === "integer" || type === "number") {
      return this.#leaf(type, schema, () => numberSchema(type, schema, at));
    }
    return type === "array" ? this.#array(schema, at, depth) : this.#object(schema, at, depth);
  }

  #leaf(type: SchemaType, schema: SchemaObject, make: () => Expression): Expression {
    const told = Object.entries(schema).filter(([keyword]) => !annotations.has(keyword));
    const key = JSON.stringify([type, told]);
    const leaf = this.#leaves.get(key) ?? shared(make());
    this.#leaves.set(key, leaf);
    return leaf;
  }

  /** The keys of an object whose properties have no names. */
  #key(schema: unknown, at: string, depth: number): Expression {
    if (schema === undefined || schema === true) return stringOf(0, Infinity);
    if (!isObject(schema) || ["$ref", "anyOf", "oneOf", "allOf", "const"].some((keyword) => keyword in schema)) {
      throw unsupported(at, "anything but a schema of strings");
    }
    const { type = "string", enum: listed } = schema;
    const isStrings =
      listed === undefined || (Array.isArray(listed) && listed.every((name) => typeof name === "string"));
    if (type !== "string" || !isStrings) throw unsupported(at, "anything but a schema of strings");
    return this.convert({ ...schema, type }, at, depth + 1, new Set());
  }

  #array(schema: SchemaObject, at: string, depth: number): Expression {
    const convert = (part: unknown, where: string) => this.convert(part, `${at}/${where}`, depth + 1, new Set());
    const min = count(schema["minItems"], `${at}/minItems`) ?? 0;
    const max = count(schema["maxItems"], `${at}/maxItems`) ?? Infinity;
    const isDraft7 = Array.isArray(schema["items"]);
    const named = isDraft7 ? "items" : "prefixItems";
    const first = schema[named] === undefined ? [] : array(schema[named], `${at}/${named}`);
    const rest = isDraft7 ? schema["additionalItems"] : schema["items"];
    if (first.length === 0) return arrayOf([], convert(rest ?? true, "items"), min, max);
    // A tuple is written whole, if it may be; behind it only what has to be there or has a schema of its own.
    const prefix = first.slice(0, max).map((part, index) => convert(part, `${named}/${index}`));
    const more = Math.max(min - prefix.length, 0);
    if (rest === undefined && more === 0) return arrayOf(prefix, nothing, 0, 0);
    return arrayOf(prefix, convert(rest ?? true, "items"), more, max - prefix.length);
  }

  #object(schema: SchemaObject, at: string, depth: number): Expression {
    const convert = (part: unknown, where: string) => this.convert(part, `${at}/${where}`, depth + 1, new Set());
    const properties = map(schema["properties"], `${at}/properties`) ?? {};
    const required = new Set(
      schema["required"] === undefined ? [] : array(schema["required"], `${at}/required`).map(String),
    );
    const others = schema["additionalProperties"] ?? schema["unevaluatedProperties"] ?? true;
    const min = count(schema["minProperties"], `${at}/minProperties`) ?? 0;
    const max = count(schema["maxProperties"], `${at}/maxProperties`) ?? Infinity;
    const names = Object.keys(properties);
    if (names.length > mostAlternatives) {
      throw unsupported(`${at}/properties`, `more than ${mostAlternatives} properties`);
    }
    // Where properties have names, none but these are written, also if there are none.
    const isClosed = schema["properties"] !== undefined && schema["additionalProperties"] === undefined;
    if (names.length === 0 && required.size === 0) {
      if (isClosed && min === 0) return objectOf([]);
      // The same key may come twice, and counts once.
      if (min > 1) throw unsupported(`${at}/minProperties`, "more than one of properties without names");
      if (others === false) return min > 0 ? nothing : objectOf([]);
      const key = this.#key(schema["propertyNames"], `${at}/propertyNames`, depth);
      return mapOf(key, convert(others, "additionalProperties"), min, max);
    }
    if (![...names, ...required].every((name) => mayBeName(name, schema["propertyNames"]))) {
      throw unsupported(`${at}/propertyNames`, "anything but a list of the names that there are");
    }
    const unnamed = [...required].filter((name) => !Object.hasOwn(properties, name));
    if (min > required.size) throw unsupported(`${at}/minProperties`, "more than are required");
    if (max < names.length + unnamed.length) throw unsupported(`${at}/maxProperties`, "fewer than have names");
    return objectOf([
      ...names.map((name) => ({
        key: exactly(name),
        value: convert(properties[name], `properties/${name}`),
        isRequired: required.has(name),
      })),
      ...unnamed.map((name) => ({
        key: exactly(name),
        value: convert(others, "additionalProperties"),
        isRequired: true,
      })),
    ]);
  }
}

/** Whether a name is seen to be allowed: where any is, or it is in a list. */
function mayBeName(name: string, schema: unknown): boolean {
  if (schema === undefined || schema === true) return true;
  if (!isObject(schema)) return false;
  const { type = "string", enum: listed, ...rest } = schema;
  const isPlain = type === "string" && Object.keys(rest).every((keyword) => annotations.has(keyword));
  return isPlain && (listed === undefined || (Array.isArray(listed) && listed.includes(name)));
}

function stringSchema(schema: SchemaObject, at: string): Expression {
  const { pattern, format } = schema;
  const min = count(schema["minLength"], `${at}/minLength`) ?? 0;
  const max = count(schema["maxLength"], `${at}/maxLength`) ?? Infinity;
  const isCounted = min > 0 || max < Infinity;
  if (pattern !== undefined) {
    if (typeof pattern !== "string") throw invalid(`${at}/pattern`, "expected a text");
    const characters = new Set<Expression>();
    const spell = (set: CharSet) => {
      const character = stringCharacter(set);
      characters.add(character);
      return character;
    };
    const matched = placed(`${at}/pattern`, () => regex(pattern, spell, "search"));
    const [least, most] = countsOf(matched, characters);
    if (isCounted && (least < min || most > max)) {
      throw unsupported(at, "a minLength or maxLength that the pattern beside it does not keep: write {min,max} in it");
    }
    return quoted(matched);
  }
  if (format === undefined) return stringOf(min, max);
  const known =
    typeof format === "string" && Object.hasOwn(formatPatterns, format) ? formatPatterns[format] : undefined;
  if (known === undefined) {
    throw unsupported(`${at}/format`, `this format; there are ${Object.keys(formatPatterns).join(", ")}`);
  }
  if (isCounted) throw unsupported(at, "minLength or maxLength beside format");
  return quoted(regex(known, stringCharacter, "whole"));
}

function numberSchema(type: "integer" | "number", schema: SchemaObject, at: string): Expression {
  const step = number(schema["multipleOf"], `${at}/multipleOf`);
  if (step !== undefined && step !== 1) throw unsupported(`${at}/multipleOf`, "multiples of anything but 1");
  const bounds = {
    minimum: number(schema["minimum"], `${at}/minimum`),
    maximum: number(schema["maximum"], `${at}/maximum`),
    exclusiveMinimum: number(schema["exclusiveMinimum"], `${at}/exclusiveMinimum`),
    exclusiveMaximum: number(schema["exclusiveMaximum"], `${at}/exclusiveMaximum`),
  };
  const isInteger = type === "integer" || step === 1;
  if (Object.values(bounds).every((bound) => bound === undefined)) return isInteger ? anyInteger : anyNumber;
  return placed(at, () => (isInteger ? integerWithin(bounds) : numberWithin(bounds)));
}

function isOfType(value: unknown, type: SchemaType): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  return type === "integer" ? Number.isInteger(value) : typeof value === type;
}

/** Refuses what stands beside a keyword that is a schema by itself. */
function alone(keyword: string, keywords: ReadonlySet<string>, at: string): void {
  const other = [...keywords].find((each) => each !== keyword);
  if (other !== undefined) throw unsupported(at, `${other} beside ${keyword}`);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Runs `make`; what it throws names the place. */
function placed<T>(at: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof GriffinError)) throw error;
    throw new GriffinError(error.code, `Schema at ${at || "/"}: ${error.message}`);
  }
}

const invalid = (at: string, what: string) => new GriffinError("invalid_argument", `Schema at ${at || "/"}: ${what}.`);
const unsupported = (at: string, what: string) =>
  new GriffinError("unsupported", `Schema at ${at || "/"}: ${what}: not supported.`);
