import { describe, expect, it } from "vitest";
import { chatRequest } from "../../src/http/chat-completions.ts";
import { checkShape } from "../../src/http/read-body.ts";
import { formatOf, wireTextFormat } from "../../src/http/reply-format.ts";
import { responseRequest } from "../../src/http/responses.ts";
import { fault } from "./turns.ts";

const schema = { type: "object", properties: { a: { type: "string" } } };
const chat = (change: object) =>
  formatOf(checkShape(chatRequest, { messages: [{ role: "user", content: "Hi" }], ...change }));
const response = (change: object) => formatOf(checkShape(responseRequest, { input: "Hi", ...change }));

describe("the format of a reply", () => {
  it("is any text unless a request says otherwise", () => {
    for (const asked of [{}, { response_format: { type: "text" } }, { response_format: null }]) {
      expect(chat(asked).format).toBeNull();
    }
    expect(response({ text: { format: { type: "text" } } }).format).toBeNull();
  });

  it("is a schema, under the names of both APIs", () => {
    const names = { name: "thing", description: null, strict: true };
    const stored = { type: "json_schema", schema: JSON.stringify(schema), ...names };
    expect(
      chat({ response_format: { type: "json_schema", json_schema: { name: "thing", strict: true, schema } } }),
    ).toEqual({
      format: stored,
      param: "response_format.json_schema.schema",
    });
    const { format, param } = response({
      text: { format: { type: "json_schema", name: "thing", strict: true, schema } },
    });
    expect({ format, param }).toEqual({ format: stored, param: "text.format.schema" });
    expect(wireTextFormat(format)).toEqual({ type: "json_schema", name: "thing", strict: true, schema });
  });

  it("is a pattern, a choice or JSON, by vLLM's name", () => {
    expect(chat({ structured_outputs: { regex: "a+" } }).format).toEqual({ type: "regex", pattern: "a+" });
    expect(response({ structured_outputs: { choice: ["yes", "no"] } }).format).toMatchObject({
      choices: ["yes", "no"],
    });
    expect(chat({ structured_outputs: { json_object: true } }).format).toEqual({ type: "json_object" });
    for (const json of [schema, JSON.stringify(schema)]) {
      const { format, param } = chat({ structured_outputs: { json } });
      expect(format).toMatchObject({ type: "json_schema", schema: JSON.stringify(schema) });
      expect(param).toBe("structured_outputs.json");
      expect(wireTextFormat(format)).toEqual({ type: "text" });
    }
  });

  it("that is none, or two, is refused by name", () => {
    const named = (format: object) => ({ response_format: { type: "json_schema", json_schema: format } });
    expect(fault(() => chat({ response_format: { type: "grammar" } }))).toEqual([
      "unsupported",
      "response_format.type",
    ]);
    expect(fault(() => chat({ response_format: "json" }))).toEqual(["invalid_argument", "response_format"]);
    expect(fault(() => chat(named({ schema })))).toEqual(["invalid_argument", "response_format.json_schema.name"]);
    expect(fault(() => chat(named({ name: "a", schema: 7 })))).toEqual([
      "invalid_argument",
      "response_format.json_schema.schema",
    ]);
    for (const structured of [{}, { regex: "a", choice: ["a"] }]) {
      expect(fault(() => chat({ structured_outputs: structured }))).toEqual(["invalid_argument", "structured_outputs"]);
    }
    expect(fault(() => chat({ structured_outputs: { grammar: "root ::= a" } }))?.[1]).toBe(
      "structured_outputs.grammar",
    );
    expect(fault(() => chat({ structured_outputs: { json: "{" } }))?.[1]).toBe("structured_outputs.json");
    const two = { response_format: { type: "json_object" }, structured_outputs: { regex: "a" } };
    expect(fault(() => chat(two))?.[1]).toBe("structured_outputs");
  });
});
