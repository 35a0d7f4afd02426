import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Format } from "../../../src/engine/constraints/constraint.ts";
import { z } from "zod";
import { allows, drawReply } from "./walk.ts";

const ajv = new Ajv2020({ strict: false, validateFormats: false });
const format = (schema: unknown): Format => ({ type: "json_schema", schema: JSON.stringify(schema) });

function expectValidReplies(schema: unknown, count = 8): void {
  const validate = ajv.compile(schema as object);
  let whole = 0;
  for (let seed = 1; seed <= count; seed++) {
    const text = drawReply(format(schema), seed);
    if (text === null) continue;
    whole++;
    const value: unknown = JSON.parse(text);
    expect(validate(value), `${text} against ${JSON.stringify(schema)}`).toBe(true);
  }
  expect(whole, JSON.stringify(schema)).toBeGreaterThan(0);
}

const refused = (schema: unknown) => {
  try {
    drawReply(format(schema), 1);
  } catch (error) {
    return error;
  }
  return undefined;
};

const bound = fc.oneof(
  fc.integer({ min: -1200, max: 1200 }),
  fc.integer({ min: -500, max: 500 }).map((n) => n / 100),
);
const numbers = fc.record(
  { type: fc.constantFrom("integer", "number"), minimum: bound, exclusiveMaximum: bound },
  { requiredKeys: ["type"] },
);
const strings = fc.record(
  { type: fc.constant("string"), minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 6 }) },
  { requiredKeys: ["type"] },
);
const patterns = fc.record({
  type: fc.constant("string"),
  pattern: fc.constantFrom(
    "^[a-c]{2,4}$",
    "b",
    "^x",
    "y$",
    '^(ja|nein|"\\\\)$',
    "^\\d{3}-\\w+$",
    "[^a]",
    "^é?ü+$",
    '[\\u0000-\\u001f"]',
    "^(?:a|b+?)??$",
    "^x|y$",
  ),
});
const enums = fc.record({ enum: fc.array(fc.jsonValue({ maxDepth: 1 }), { minLength: 1, maxLength: 4 }) });
const { schema } = fc.letrec<{ schema: object }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc.constantFrom<object>({ type: "boolean" }, { type: "null" }, { type: ["integer", "null"] }),
    numbers,
    strings,
    patterns,
    enums,
    fc.record({ const: fc.jsonValue({ maxDepth: 2 }) }),
    fc.record({ anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ oneOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
    fc.record(
      {
        type: fc.constant("array"),
        items: tie("schema"),
        prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }),
        minItems: fc.nat(3),
        maxItems: fc.integer({ min: 3, max: 5 }),
      },
      { requiredKeys: ["type", "items"] },
    ),
    fc.record(
      {
        type: fc.constant("object"),
        properties: fc.dictionary(fc.constantFrom("a", 'b"', "ü"), tie("schema"), { maxKeys: 3 }),
        required: fc.uniqueArray(fc.constantFrom("a", 'b"', "c"), { maxLength: 2 }),
        additionalProperties: fc.oneof(fc.constant(true), tie("schema")),
        propertyNames: fc.constantFrom({ type: "string" }, { enum: ["a", "c"] }, { maxLength: 2 }),
        minProperties: fc.nat(2),
        maxProperties: fc.nat(4),
      },
      { requiredKeys: ["type"] },
    ),
  ),
}));

describe("a schema", () => {
  it("is what every reply held to it validates against", () => {
    fc.assert(
      fc.property(schema, (drawn) => {
        // Bounds between which there is nothing, and the like.
        if (refused(drawn) !== undefined) return;
        expectValidReplies(drawn, 4);
      }),
      { seed: 20_261_126, numRuns: 250 },
    );
  });

  it("may be recursive", () => {
    const tree = {
      $defs: {
        node: {
          type: "object",
          properties: { next: { $ref: "#/$defs/node" }, list: { type: "array", items: { $ref: "#/$defs/node" } } },
        },
      },
      $ref: "#/$defs/node",
    };
    expectValidReplies(tree);
    expect(allows(format(tree), '{"next":{"next":{}},"list":[{"list":[]}]}')).toBe(true);
    expect(allows(format(tree), '{"next":{"next":{}},"list":[{"list":[{]}]}')).toBe(false);
  });

  it("lets values through as programs write them", () => {
    const person = {
      type: "object",
      properties: {
        name: { type: "string" },
        age: { type: "integer", minimum: 0, maximum: 150 },
        tags: { type: "array", items: { type: "string" } },
      },
      required: ["name", "age"],
      additionalProperties: false,
    };
    for (const text of ['{"name":"Ada","age":36}', '{"name":"Ä\\n\\"","age":150,"tags":["a","b"]}']) {
      expect(allows(format(person), text)).toBe(true);
    }
    for (const text of [
      '{"name":"Ada"}',
      '{"name":"Ada","age":151}',
      '{"age":1,"name":"Ada"}',
      '{"name":"Ada", "age":1}',
      '{"name":"\n","age":1}',
    ]) {
      expect(allows(format(person), text)).toBe(false);
    }
  });

  it("is held to at the bounds of numbers", () => {
    const integers = format({ type: "integer", minimum: -12, maximum: 107 });
    for (const value of [-12, -9, -1, 0, 7, 10, 99, 100, 107]) expect(allows(integers, String(value))).toBe(true);
    for (const value of [-13, -20, 108, 110, 200, 1000]) expect(allows(integers, String(value))).toBe(false);
    const fractions = format({ type: "number", exclusiveMinimum: 0, maximum: 0.25 });
    for (const text of ["0.01", "0.25", "0.10"]) expect(allows(fractions, text)).toBe(true);
    for (const text of ["0", "0.00", "0.26", "-0.01", "1"]) expect(allows(fractions, text)).toBe(false);
  });

  it("knows the dates that there are", () => {
    const date = format({ type: "string", format: "date" });
    for (const text of ['"2026-02-28"', '"2026-04-30"', '"2026-12-31"']) expect(allows(date, text)).toBe(true);
    for (const text of ['"2026-02-30"', '"2026-04-31"', '"2026-13-01"']) expect(allows(date, text)).toBe(false);
  });

  it("of which something would not be held to is refused", () => {
    for (const unsupported of [
      { type: "array", items: {}, uniqueItems: true },
      { type: "integer", multipleOf: 3 },
      { not: { type: "string" } },
      { allOf: [{ type: "string" }, { maxLength: 2 }] },
      { anyOf: [{ type: "string" }], minLength: 2 },
      { type: "string", pattern: "a", minLength: 2 },
      { type: "string", pattern: "^[ab]+$", maxLength: 9 },
      { type: "string", pattern: "^(ab|c)$", minLength: 2 },
      { type: "string", pattern: "(?=a)b" },
      { type: "string", format: "iri" },
      { type: "string", minLenght: 2 },
      { oneOf: [{ type: "integer" }, { type: "number" }] },
      { type: "object", patternProperties: { a: {} } },
      { type: "object", propertyNames: { anyOf: [{ const: "a" }] } },
      { type: "object", propertyNames: { pattern: "^a" }, required: ["b"] },
      { type: "object", additionalProperties: { type: "string" }, minProperties: 2 },
      { $ref: "https://example.com/schema" },
    ]) {
      expect(refused(unsupported), JSON.stringify(unsupported)).toMatchObject({ code: "unsupported" });
    }
    for (const invalid of [
      { type: "foo" },
      { type: "string", pattern: "(" },
      { $ref: "#/$defs/none" },
      { $ref: "#" },
      { type: "integer", minimum: 3, maximum: 2 },
      { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] },
      { enum: [] },
      7,
    ]) {
      expect(refused(invalid), JSON.stringify(invalid)).toMatchObject({ code: "invalid_argument" });
    }
  });

  it("is one that zod makes, and zod takes every reply", () => {
    const shape = <K extends string>(kind: K) => z.object({ kind: z.literal(kind), size: z.number().positive() });
    const shapes: z.ZodType[] = [
      z.object({ day: z.iso.date(), at: z.iso.datetime(), id: z.uuid(), mail: z.email().optional() }),
      z.discriminatedUnion("kind", [shape("circle"), shape("square")]),
      z
        .string()
        .length(5)
        .regex(/^(\d{2}|[é-ü]{2})-x{2}$/)
        .or(
          z
            .string()
            .min(1)
            .max(9)
            .regex(/^[a-z"]{2,4}(-\n){0,2}$/),
        ),
      z.record(z.string().max(3), z.int().min(-5).max(5)),
      z.record(z.enum(["a", "b"]), z.boolean()),
      z.partialRecord(z.enum(["a", "b"]), z.boolean()),
      z.tuple([z.string().max(2), z.number()]).rest(z.boolean()),
      z.tuple([z.literal(["x", 3]), z.null()]),
      z.looseObject({
        a: z
          .string()
          .regex(/^[xy]{2}$/)
          .nullish(),
        b: z.ipv4(),
      }),
      z.union([z.string().startsWith("ab"), z.array(z.enum(["é", '"'])).length(2)]).nullable(),
    ];
    let whole = 0;
    for (const each of shapes) {
      for (let seed = 1; seed <= 6; seed++) {
        const text = drawReply(format(z.toJSONSchema(each)), seed);
        if (text === null) continue;
        whole++;
        expect(each.safeParse(JSON.parse(text)).error, text).toBeUndefined();
      }
    }
    expect(whole).toBeGreaterThan(40);
  });

  it("may have alternatives that exclude each other", () => {
    const shape = (kind: string) => ({
      type: "object",
      properties: { kind: { const: kind }, size: { type: "number" } },
      required: ["kind"],
    });
    expectValidReplies({ oneOf: [shape("circle"), shape("square"), { type: "null" }] });
  });
});
