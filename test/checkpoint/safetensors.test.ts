// Safetensors headers: written and read back, and hostile ones refused by the tensor's name.
import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { GriffinError } from "../../src/errors.ts";
import {
  type Dtype,
  dtypeBytes,
  encodeHeader,
  headerLength,
  headerLengthBytes,
  parseHeader,
} from "../../src/checkpoint/safetensors.ts";

function read(file: Uint8Array, fileBytes = file.byteLength) {
  const length = headerLength(file, fileBytes, "x.safetensors");
  return parseHeader(file.subarray(headerLengthBytes, headerLengthBytes + length), fileBytes, "x.safetensors");
}

/** The header of a file whose JSON is `json` and whose data has `dataBytes`. */
function readJson(json: string | object, dataBytes = 16) {
  const bytes = new TextEncoder().encode(typeof json === "string" ? json : JSON.stringify(json));
  return parseHeader(bytes, headerLengthBytes + bytes.byteLength + dataBytes, "x.safetensors");
}

function codeOf(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error instanceof GriffinError ? error.code : error;
  }
}

const tensorLists = fc.uniqueArray(
  fc.record({
    name: fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("a.b", "7", "__proto__", '"', "toString")),
    dtype: fc.constantFrom(...(Object.keys(dtypeBytes) as Dtype[])),
    shape: fc.array(fc.nat(9), { maxLength: 4 }),
  }),
  { selector: ({ name }) => name, maxLength: 12 },
);

describe("encodeHeader and parseHeader", () => {
  it("agree on names, dtypes, shapes, places and metadata", () => {
    const named = tensorLists.filter((list) =>
      list.every(({ name }) => name !== "__metadata__" && name.isWellFormed()),
    );
    fc.assert(
      fc.property(named, fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 }), (list, metadata) => {
        const { bytes, header, fileBytes } = encodeHeader(list, metadata);
        expect(bytes.byteLength % 8).toBe(0);
        const parsed = read(bytes, fileBytes);
        expect(Object.fromEntries(parsed.tensors)).toEqual(Object.fromEntries(header.tensors));
        expect(parsed.dataStartBytes).toBe(bytes.byteLength);
        expect({ ...parsed.metadata }).toEqual({ ...metadata });
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  it("leave no hole between tensors", () => {
    const { header, bytes, fileBytes } = encodeHeader([
      { name: "a", dtype: "F32", shape: [3] },
      { name: "b", dtype: "BF16", shape: [1, 5] },
      { name: "c", dtype: "U8", shape: [] },
    ]);
    expect([...header.tensors.values()].map((e) => [e.beginBytes, e.endBytes])).toEqual([
      [0, 12],
      [12, 22],
      [22, 23],
    ]);
    expect(fileBytes).toBe(bytes.byteLength + 23);
  });

  it("read a file that other software wrote", () => {
    const file = readFileSync("test/golden/tiny/model.safetensors");
    const { tensors } = read(file);
    expect(tensors.get("model.embed_tokens.weight")).toMatchObject({ dtype: "BF16", shape: [160, 64] });
    expect(Math.max(...Array.from(tensors.values(), (e) => e.endBytes)) + read(file).dataStartBytes).toBe(
      file.byteLength,
    );
  });
});

const f32 = (begin: number, end: number) => ({
  dtype: "F32",
  shape: [(end - begin) / 4],
  data_offsets: [begin, end],
});

describe("parseHeader", () => {
  it("puts tensors in the order of their data, and tolerates holes", () => {
    expect([...readJson({ late: f32(8, 16), early: f32(0, 4) }).tensors.keys()]).toEqual(["early", "late"]);
  });

  it("tolerates spaces after the JSON, as other software pads", () => {
    expect(readJson(`${JSON.stringify({ a: f32(0, 4) })}      `).tensors.size).toBe(1);
  });

  it.each([
    ["JSON cut short", '{"a":', "not valid JSON"],
    ["no object", "[1]", "not a JSON object"],
    [
      "a tensor twice",
      '{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}',
      '"a" twice',
    ],
    ["a key twice in a tensor", '{"a":{"dtype":"U8","dtype":"F32","shape":[],"data_offsets":[0,4]}}', '"dtype" twice'],
    ["a tensor that is no object", { a: null }, '"a"'],
    ["an unknown dtype", { a: { ...f32(0, 4), dtype: "Q4" } }, '"a": dtype'],
    ["a dtype of Object's", { a: { ...f32(0, 4), dtype: "constructor" } }, '"a": dtype'],
    ["a negative offset", { a: { ...f32(0, 4), data_offsets: [-4, 0] } }, '"a": data_offsets'],
    ["offsets in reverse", { a: { ...f32(0, 4), data_offsets: [8, 4] } }, '"a": data_offsets'],
    ["three offsets", { a: { ...f32(0, 4), data_offsets: [0, 4, 8] } }, '"a": data_offsets'],
    ["an offset that is no integer", { a: { ...f32(0, 4), data_offsets: [0, 4.5] } }, '"a": data_offsets'],
    [
      "an offset above 2^53",
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[9007199254740992,9007199254740993]}}',
      '"a": data_offsets',
    ],
    ["an end past the file", { a: f32(0, 4), b: f32(4, 20) }, 'truncated: tensor "b"'],
    ["a shape too large for its bytes", { a: { ...f32(0, 4), shape: [2] } }, '"a": F32 [2] takes 8 bytes'],
    ["a shape whose product overflows", { a: { ...f32(0, 4), shape: [2 ** 40, 2 ** 40] } }, '"a": F32'],
    ["a negative size", { a: { ...f32(0, 4), shape: [-1, -1] } }, '"a": shape'],
    ["a shape that is no list", { a: { ...f32(0, 4), shape: 1 } }, '"a": shape'],
    ["an overlap", { a: f32(0, 8), b: f32(4, 12) }, '"b" overlaps tensor "a"'],
    ["metadata that is no object", { __metadata__: 3 }, "__metadata__"],
    ["metadata that is no string", { __metadata__: { format: 1 } }, '"format"'],
  ])("refuses %s", (_, json, names) => {
    const parse = () => readJson(json);
    expect(parse).toThrow(expect.objectContaining({ code: "invalid_checkpoint" }));
    expect(parse).toThrow(names);
    expect(parse).toThrow("x.safetensors");
  });

  it("refuses bytes that are not UTF-8", () => {
    expect(() => parseHeader(Uint8Array.of(0xff, 0xfe), 10, "x.safetensors")).toThrow("UTF-8");
  });

  it("never fails but with invalid_checkpoint, whatever the JSON holds", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), (json) => {
        expect(codeOf(() => readJson(json))).toBeOneOf([undefined, "invalid_checkpoint"]);
      }),
      { seed: 9, numRuns: 500 },
    );
  });
});

const lengthOf = (length: bigint) => new Uint8Array(BigUint64Array.of(length).buffer);

describe("headerLength", () => {
  it.each([
    ["a file of three bytes", Uint8Array.of(1, 2, 3), 3, "truncated"],
    ["a header longer than the file", lengthOf(100n), 50, "truncated"],
    ["a header above 100 MB", lengthOf(100_000_001n), 2 ** 40, "100000001 bytes"],
    ["a length above 2^63", lengthOf(2n ** 64n - 1n), 2 ** 40, "18446744073709551615 bytes"],
  ])("refuses %s", (_, bytes, fileBytes, names) => {
    const parse = () => headerLength(bytes, fileBytes, "x.safetensors");
    expect(parse).toThrow(expect.objectContaining({ code: "invalid_checkpoint" }));
    expect(parse).toThrow(names);
  });
});
