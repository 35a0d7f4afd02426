import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GriffinError } from "../../src/errors.ts";
import { buildGraph } from "../../src/model/build-graph.ts";
import {
  decodeModel,
  encodeModel,
  type AttributeProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "../../src/model/onnx.ts";
import { weightSpecs } from "../../src/model/weights.ts";
import { randomModels } from "../reference/random-model.ts";

const { config } = randomModels.two_kv_heads;
const specs = new Map(weightSpecs(config).map((spec) => [spec.name, spec]));
const graphBytes = encodeModel(
  buildGraph(config, {
    kv: "f32",
    format: "f32",
    weights: (name) => {
      const shape = specs.get(name)!.shape;
      return { dtype: "f32", shape, offsetBytes: 1024, lengthBytes: shape.reduce((a, b) => a * b, 4) };
    },
  }),
);

/** Decoding may refuse bytes, but only in the one way. */
function decodes(bytes: Uint8Array): ModelProto | undefined {
  try {
    return decodeModel(bytes);
  } catch (error) {
    if (error instanceof GriffinError && error.code === "invalid_graph") return undefined;
    throw error;
  }
}

const text = fc.oneof(fc.string({ maxLength: 6, unit: "binary" }), fc.constant("\ufeffa byte order mark stays"));
const integer = fc.maxSafeInteger();
const real = fc.float();
const raw = fc.uint8Array({ maxLength: 5 });
const list = <T>(item: fc.Arbitrary<T>) => fc.array(item, { minLength: 1, maxLength: 3 });
const message = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(fields, { requiredKeys: [] });
const entries = list(message({ key: text, value: text }));
const opsets = list(message({ domain: text, version: integer }));

type Messages = {
  tensor: TensorProto;
  value: ValueInfoProto;
  attribute: AttributeProto;
  node: NodeProto;
  graph: GraphProto;
  model: ModelProto;
};
const { model } = fc.letrec<Messages>((tie) => ({
  tensor: message({
    dims: list(integer),
    dataType: integer,
    name: text,
    rawData: raw,
    externalData: entries,
    dataLocation: integer,
  }),
  value: message({
    name: text,
    type: message({
      tensorType: message({
        elemType: integer,
        shape: message({ dim: list(message({ dimValue: integer, dimParam: text })) }),
      }),
    }),
    docString: text,
  }),
  attribute: message({
    name: text,
    f: real,
    i: integer,
    s: raw,
    t: tie("tensor"),
    g: fc.option(tie("graph"), { maxDepth: 2, nil: {} }),
    floats: list(real),
    ints: list(integer),
    strings: list(raw),
    type: integer,
    refAttrName: text,
  }),
  node: message({
    input: list(text),
    output: list(text),
    name: text,
    opType: text,
    attribute: list(tie("attribute")),
    domain: text,
  }),
  graph: message({
    node: list(tie("node")),
    name: text,
    initializer: list(tie("tensor")),
    input: list(tie("value")),
    output: list(tie("value")),
    valueInfo: list(tie("value")),
  }),
  model: message({
    irVersion: integer,
    producerName: text,
    graph: tie("graph"),
    opsetImport: opsets,
    metadataProps: entries,
    functions: list(
      message({
        name: text,
        input: list(text),
        output: list(text),
        attribute: list(text),
        node: list(tie("node")),
        opsetImport: opsets,
        domain: text,
        attributeProto: list(tie("attribute")),
      }),
    ),
  }),
}));

describe("the ONNX codec", () => {
  it("reads what ONNX's own Python library wrote, and writes the same bytes", () => {
    // onnx 1.23.2: SerializeToString of a small model with every kind of field that graphs use.
    const bytes = Buffer.from(
      "CAoSAXA6sgIKQAoBeBIBeRoCbjAiCHNvZnRfY2FwKg0KA2NhcBUAAPBBoAEBKhIKB2Vwc2lsb26gAQGqAQNlcHM6B2dyaWZmaW4KYQoACgASAXoaAm4x" +
        "IgRMb29wKg4KBGJvZHkyAxIBZ6ABBSoVCgZmbG9hdHM9AACAPj0AAADAoAEGKhYKBGludHNA////////////AUADoAEHKg8KBHRleHQiBHRhbmigAQMS" +
        "B2dyaWZmaW4qSAgCCAMQEEIBd2ofCghsb2NhdGlvbhITd2VpZ2h0cy5zYWZldGVuc29yc2oMCgZvZmZzZXQSAjY0agwKBmxlbmd0aBICMTJwASoRCAEQ" +
        "B0IBckoI//////////9aFAoBeBIPCg0IARIJCgMSAVQKAggEYg8KAXkSCgoICAYSBAoCCABCBAoAEBVCCwoHZ3JpZmZpbhABygFaCghzb2Z0X2NhcCIB" +
        "eCoBeTIDY2FwOiQSAWMiCENvbnN0YW50KhUKC3ZhbHVlX2Zsb2F0FQAAAD+gAQE6DgoBeAoBYxIBeSIDTXVsSgQKABAVUgdncmlmZmlu",
      "base64",
    );
    expect(decodeModel(bytes)).toEqual({
      irVersion: 10,
      producerName: "p",
      graph: {
        node: [
          {
            input: ["x"],
            output: ["y"],
            name: "n0",
            opType: "soft_cap",
            attribute: [
              { name: "cap", f: 30, type: 1 },
              { name: "epsilon", type: 1, refAttrName: "eps" },
            ],
            domain: "griffin",
          },
          {
            input: ["", ""],
            output: ["z"],
            name: "n1",
            opType: "Loop",
            attribute: [
              { name: "body", g: { name: "g" }, type: 5 },
              { name: "floats", floats: [0.25, -2], type: 6 },
              { name: "ints", ints: [-1, 3], type: 7 },
              { name: "text", s: Buffer.from("tanh"), type: 3 },
            ],
          },
        ],
        name: "griffin",
        initializer: [
          {
            dims: [2, 3],
            dataType: 16,
            name: "w",
            externalData: [
              { key: "location", value: "weights.safetensors" },
              { key: "offset", value: "64" },
              { key: "length", value: "12" },
            ],
            dataLocation: 1,
          },
          { dims: [1], dataType: 7, name: "r", rawData: Buffer.alloc(8, 0xff) },
        ],
        input: [
          { name: "x", type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: "T" }, { dimValue: 4 }] } } } },
        ],
        output: [{ name: "y", type: { tensorType: { elemType: 6, shape: { dim: [{ dimValue: 0 }] } } } }],
      },
      opsetImport: [
        { domain: "", version: 21 },
        { domain: "griffin", version: 1 },
      ],
      functions: [
        {
          name: "soft_cap",
          input: ["x"],
          output: ["y"],
          attribute: ["cap"],
          node: [
            { output: ["c"], opType: "Constant", attribute: [{ name: "value_float", f: 0.5, type: 1 }] },
            { input: ["x", "c"], output: ["y"], opType: "Mul" },
          ],
          opsetImport: [{ domain: "", version: 21 }],
          domain: "griffin",
        },
      ],
    });
    expect(Buffer.from(encodeModel(decodeModel(bytes)))).toEqual(bytes);
  });

  it("writes the bytes of a graph again exactly as they were", () => {
    expect(encodeModel(decodeModel(graphBytes))).toEqual(graphBytes);
  });

  it("reads any model back as it was written", () => {
    fc.assert(
      fc.property(model, (value) => {
        expect(decodeModel(encodeModel(value))).toEqual(value);
      }),
      { seed: 1, numRuns: 100 },
    );
  });

  it("keeps fields it does not know, in every message, through reading and writing", () => {
    const varint = (value: number): number[] =>
      value < 0x80 ? [value] : [(value % 0x80) + 0x80, ...varint(Math.floor(value / 0x80))];
    const contents = fc.oneof(
      integer.map((value) => [0].concat(varint(Math.abs(value)))),
      fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => [1].concat(Array.from(bytes))),
      raw.map((bytes) => [2, bytes.length].concat(Array.from(bytes))),
      fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => [5].concat(Array.from(bytes))),
    );
    const unknownFields = fc
      .array(fc.tuple(fc.integer({ min: 1000, max: 2 ** 29 - 1 }), contents), { minLength: 1, maxLength: 4 })
      .map((fields) =>
        Uint8Array.from(fields.flatMap(([id, [wire = 0, ...rest]]) => [...varint(id * 8 + wire), ...rest])),
      );
    fc.assert(
      fc.property(unknownFields, unknownFields, model, (outer, inner, value) => {
        const whole = { ...value, graph: { ...value.graph, unknownFields: inner }, unknownFields: outer };
        expect(decodeModel(encodeModel(whole))).toEqual(whole);
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  it("takes packed numbers for unpacked ones, as protobuf asks of every reader", () => {
    // graph (7) { initializer (5) { dims (1), packed: 1, 300 } }
    const packed = Uint8Array.of(0x3a, 7, 0x2a, 5, 0x0a, 3, 1, 0xac, 0x02);
    expect(decodeModel(packed)).toEqual({ graph: { initializer: [{ dims: [1, 300] }] } });
  });

  it("refuses a graph cut off anywhere, or takes it if the cut is between two fields", () => {
    const ends = Array.from({ length: graphBytes.length }, (_, end) => end).filter(
      (end) => end < 300 || end % 97 === 0,
    );
    const taken = ends.filter((end) => decodes(graphBytes.subarray(0, end)) !== undefined);
    expect(taken.length).toBeLessThan(10);
    for (const end of taken) {
      const bytes = graphBytes.subarray(0, end);
      expect(encodeModel(decodeModel(bytes))).toEqual(bytes);
    }
  });

  it("never fails on damaged or random bytes in any other way than with invalid_graph", () => {
    const damage = fc.array(fc.tuple(fc.nat(graphBytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    const damaged = damage.map((changes) => {
      const bytes = graphBytes.slice();
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 64 })), (bytes) => {
        const value = decodes(bytes) ?? {};
        expect(decodeModel(encodeModel(value))).toEqual(value);
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  it.each([
    ["a length past the end", [0x3a, 0x05, 0x0a], "ModelProto.graph, byte 2 of 3: a length of 5 bytes"],
    ["a length of 2^64 − 1", [0x12, ...Array(9).fill(0xff), 0x01], "a length of 18446744073709551615 bytes"],
    ["an inner length past its message", [0x3a, 0x02, 0x12, 0x7f, 0x00], "ModelProto.graph.name, byte 4"],
    ["a varint without an end", Array(12).fill(0xff), "longer than ten bytes"],
    ["an integer beyond 2^53", [0x08, ...Array(7).fill(0xff), 0x7f], "beyond 2^53"],
    ["field number 0", [0x00, 0x00], "0 is not a field number"],
    [
      "the wrong wire type",
      [0x12 + 3, 0, 0, 0, 0],
      "ModelProto.producerName, byte 1 of 5: expected wire type 2, got 5",
    ],
    ["an old-style group", [0xfb, 0x07], "wire type 3 is not supported"],
    ["text that is not UTF-8", [0x12, 0x01, 0xff], "ModelProto.producerName, byte 2 of 3: the text is not UTF-8"],
    ["a field twice", [0x08, 0x01, 0x08, 0x02], "ModelProto.irVersion, byte 3 of 4: the field appears twice"],
    ["a fixed64 cut short", [0xf9, 0x07, 1, 2, 3], "ends at byte 5 in the middle of a field"],
  ])("refuses %s and says where", (_, bytes, where) => {
    expect(() => decodeModel(Uint8Array.from(bytes))).toThrowError(
      expect.objectContaining({ code: "invalid_graph", message: expect.stringContaining(where) }),
    );
  });

  it("refuses messages nested without an end", () => {
    let nested: ModelProto["graph"] = {};
    for (let i = 0; i < 40; i++) nested = { node: [{ attribute: [{ g: nested }] }] };
    const bytes = encodeModel({ graph: nested });
    expect(() => decodeModel(bytes)).toThrowError(/nested more than 100 deep/);
  });

  it("refuses to write an integer that JavaScript does not hold exactly", () => {
    for (const irVersion of [2 ** 53, 0.5, NaN]) {
      expect(() => encodeModel({ irVersion })).toThrowError(expect.objectContaining({ code: "invalid_graph" }));
    }
  });
});
