// ONNX files: the part of onnx.proto that our graphs use, under its own field names in camelCase. Everything else in
// a file is kept as unknown fields. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
import { decode, encode, type Message, type Schema } from "./protobuf.ts";

const schema = {
  ModelProto: {
    irVersion: [1, "int64"],
    producerName: [2, "string"],
    producerVersion: [3, "string"],
    domain: [4, "string"],
    modelVersion: [5, "int64"],
    docString: [6, "string"],
    graph: [7, "GraphProto"],
    opsetImport: [8, ["OperatorSetIdProto"]],
    metadataProps: [14, ["StringStringEntryProto"]],
    functions: [25, ["FunctionProto"]],
  },
  OperatorSetIdProto: { domain: [1, "string"], version: [2, "int64"] },
  StringStringEntryProto: { key: [1, "string"], value: [2, "string"] },
  GraphProto: {
    node: [1, ["NodeProto"]],
    name: [2, "string"],
    initializer: [5, ["TensorProto"]],
    docString: [10, "string"],
    input: [11, ["ValueInfoProto"]],
    output: [12, ["ValueInfoProto"]],
    valueInfo: [13, ["ValueInfoProto"]],
  },
  FunctionProto: {
    name: [1, "string"],
    input: [4, ["string"]],
    output: [5, ["string"]],
    attribute: [6, ["string"]],
    node: [7, ["NodeProto"]],
    docString: [8, "string"],
    opsetImport: [9, ["OperatorSetIdProto"]],
    domain: [10, "string"],
    attributeProto: [11, ["AttributeProto"]],
  },
  NodeProto: {
    input: [1, ["string"]],
    output: [2, ["string"]],
    name: [3, "string"],
    opType: [4, "string"],
    attribute: [5, ["AttributeProto"]],
    docString: [6, "string"],
    domain: [7, "string"],
  },
  AttributeProto: {
    name: [1, "string"],
    f: [2, "float"],
    i: [3, "int64"],
    s: [4, "bytes"],
    t: [5, "TensorProto"],
    g: [6, "GraphProto"],
    floats: [7, ["float"]],
    ints: [8, ["int64"]],
    strings: [9, ["bytes"]],
    docString: [13, "string"],
    type: [20, "int64"],
    refAttrName: [21, "string"],
  },
  TensorProto: {
    dims: [1, ["int64"]],
    dataType: [2, "int64"],
    name: [8, "string"],
    rawData: [9, "bytes"],
    externalData: [13, ["StringStringEntryProto"]],
    dataLocation: [14, "int64"],
  },
  ValueInfoProto: { name: [1, "string"], type: [2, "TypeProto"], docString: [3, "string"] },
  TypeProto: { tensorType: [1, "TypeProto.Tensor"] },
  "TypeProto.Tensor": { elemType: [1, "int64"], shape: [2, "TensorShapeProto"] },
  TensorShapeProto: { dim: [1, ["TensorShapeProto.Dimension"]] },
  "TensorShapeProto.Dimension": { dimValue: [1, "int64"], dimParam: [2, "string"] },
} as const satisfies Schema;

type Proto<M extends keyof typeof schema> = Message<typeof schema, M>;
export interface ModelProto extends Proto<"ModelProto"> {}
export interface GraphProto extends Proto<"GraphProto"> {}
export interface FunctionProto extends Proto<"FunctionProto"> {}
export interface NodeProto extends Proto<"NodeProto"> {}
export interface AttributeProto extends Proto<"AttributeProto"> {}
export interface TensorProto extends Proto<"TensorProto"> {}
export interface ValueInfoProto extends Proto<"ValueInfoProto"> {}

/** TensorProto.DataType: the element types our graphs use. */
export const DataType = {
  float: 1,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  double: 11,
  bfloat16: 16,
  int4: 22,
} as const;
/** AttributeProto.AttributeType */
export const AttributeType = { float: 1, int: 2, string: 3, tensor: 4, graph: 5, floats: 6, ints: 7 } as const;
/** TensorProto.DataLocation */
export const DataLocation = { default: 0, external: 1 } as const;

/** Reads the bytes of an ONNX file. Throws `invalid_graph` for damaged ones, saying where. */
export function decodeModel(bytes: Uint8Array): ModelProto {
  return decode(schema, "ModelProto", bytes);
}

/** The bytes of an ONNX file. */
export function encodeModel(model: ModelProto): Uint8Array<ArrayBuffer> {
  return encode(schema, "ModelProto", model);
}

/** A tensor-valued input or output; a dim in letters is symbolic. */
export function tensorValue(name: string, elemType: number, shape: readonly (number | string)[]): ValueInfoProto {
  const dim = shape.map((size) => (typeof size === "number" ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}
