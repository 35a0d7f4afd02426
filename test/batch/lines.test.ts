// Input files line by line, and what a line has to be.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineReader, linesOf, requestOf, type Line } from "../../src/batch/lines.ts";

const utf8 = new TextEncoder();
const textOf = ({ bytes }: Line) => (bytes === null ? null : new TextDecoder().decode(bytes));

/** The lines of pieces, none longer than `mostBytes`. */
function read(pieces: readonly Uint8Array[], mostBytes?: number): Line[] {
  const reader = new LineReader(0, mostBytes);
  return [...pieces.flatMap((piece) => [...reader.push(piece)]), ...reader.end()];
}

/** Bytes cut at places that are given as parts of the whole. */
function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [0, ...at.map((part) => Math.floor(part * bytes.byteLength)).sort((a, b) => a - b), bytes.byteLength];
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end));
}

const text = fc.array(fc.string({ unit: fc.constantFrom("a", "é", "😀", " ", "\r", "\t", "{", "\n"), maxLength: 12 }));
const parts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 });

describe("lines of a file", () => {
  it("are the same in whatever pieces it comes, and lie where they say", () => {
    const property = fc.property(text, parts, (words, at) => {
      const whole = words.join("\n");
      const bytes = utf8.encode(whole);
      const expected = whole.split("\n").filter((line) => /[^ \t\r]/.test(line));
      const lines = read(cut(bytes, at));
      expect(lines.map(textOf)).toEqual(expected);
      expect(lines.map(({ number }) => whole.split("\n")[number - 1])).toEqual(expected);
      for (const line of lines) {
        const there = bytes.subarray(line.offset, line.offset + line.length);
        expect(new TextDecoder().decode(there)).toBe(textOf(line));
      }
    });
    fc.assert(property, { seed: 1, numRuns: 500 });
  });

  it("are told by their length where they are too long, and the next ones are read", () => {
    const property = fc.property(fc.array(fc.nat(20), { maxLength: 6 }), parts, (lengths, at) => {
      const bytes = utf8.encode(lengths.map((length) => "x".repeat(length + 1)).join("\n"));
      const lines = read(cut(bytes, at), 10);
      expect(lines.map(({ length }) => length)).toEqual(lengths.map((length) => length + 1));
      expect(lines.map(({ bytes: kept }) => kept === null)).toEqual(lengths.map((length) => length + 1 > 10));
    });
    fc.assert(property, { seed: 2, numRuns: 300 });
  });

  it("of a part of the file have their offsets in the whole", () => {
    const [, second] = linesOf(utf8.encode("ab\ncd"), 100);
    expect(second).toMatchObject({ offset: 103, length: 2 });
  });
});

describe("a line", () => {
  const of = (value: unknown) => {
    const bytes = utf8.encode(typeof value === "string" ? value : JSON.stringify(value));
    return requestOf({ offset: 0, number: 1, length: bytes.byteLength, bytes }, "/v1/responses");
  };
  const good = { custom_id: "a", method: "POST", url: "/v1/responses", body: { input: "Hi." } };

  it("is a request with an id of its own", () => {
    expect(of(good)).toEqual({ customId: "a", body: { input: "Hi." }, fault: null });
    expect(of(`\uFEFF${JSON.stringify(good)}\r`)).toMatchObject({ fault: null });
  });

  it.each([
    ["no JSON", "not json", "invalid_json_line", null, null],
    ["no object", "[]", "invalid_json_line", null, null],
    ["no id", { ...good, custom_id: undefined }, "missing_required_parameter", "custom_id", null],
    ["an empty id", { ...good, custom_id: "" }, "missing_required_parameter", "custom_id", null],
    ["a number as id", { ...good, custom_id: 1 }, "missing_required_parameter", "custom_id", null],
    ["a long id", { ...good, custom_id: "x".repeat(257) }, "missing_required_parameter", "custom_id", null],
    ["another method", { ...good, method: "GET" }, "invalid_method", "method", "a"],
    ["another endpoint", { ...good, url: "/v1/completions" }, "invalid_url", "url", "a"],
    ["no body", { ...good, body: [] }, "missing_required_parameter", "body", "a"],
    ["a stream", { ...good, body: { stream: true } }, "unsupported", "body.stream", "a"],
    ["background", { ...good, body: { background: true } }, "unsupported", "body.background", "a"],
  ])("with %s is malformed", (_, value, code, param, customId) => {
    expect(of(value)).toMatchObject({ customId, fault: { code, param } });
  });

  it("that is not UTF-8, or too long, is malformed", () => {
    const bytes = Uint8Array.of(0x22, 0xff, 0x22);
    expect(requestOf({ offset: 0, number: 1, length: 3, bytes }, "/v1/responses")).toMatchObject({
      fault: { code: "invalid_json_line" },
    });
    expect(requestOf({ offset: 0, number: 1, length: 2e6, bytes: null }, "/v1/responses")).toMatchObject({
      fault: { code: "line_too_long" },
    });
  });
});
