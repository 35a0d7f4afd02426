// Graph: the kernel graph as the engine sees it. `readGraph` reduces an ONNX model to calls of our functions and
// refuses, naming the node, everything that is not one. Function bodies are not looked at: the name says what to run.
import { GriffinError, type ErrorCode } from "../errors.ts";
import { signatureOf, type OperatorName, type Shape } from "./functions.ts";
import {
  AttributeType,
  DataLocation,
  DataType,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "./onnx.ts";
import { tensorBytes, type ElementType } from "./weights.ts";

/** The domain of our functions, and the version of them that this code knows. */
export const domain = "griffin";
export const domainVersion = 1;
/** The domain an operator belongs to; "" is that of standard ONNX. */
export const domainOf = (operator: OperatorName) => (operator === "Add" ? "" : domain);
/** The file beside graph.onnx in which every initializer lies. */
export const weightsFile = "weights.safetensors";

/** An input or output of the graph. */
export interface GraphValue {
  name: string;
  dtype: "f32" | "i32";
  shape: Shape;
}

/** One call of a function. */
export interface GraphNode {
  name: string;
  operator: OperatorName;
  /** Names of values, in the order of the signature; absent trailing ones are left out. */
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: Readonly<Record<string, number>>;
}

/** Where the elements of one tensor lie in `weights.safetensors`: row-major, little-endian, int4 two a byte. */
export interface StoredTensor {
  dtype: ElementType;
  shape: readonly number[];
  /** From the start of the file. */
  offsetBytes: number;
  lengthBytes: number;
}

export interface Graph {
  inputs: readonly GraphValue[];
  outputs: readonly GraphValue[];
  /** In execution order: a value is produced before it is used. */
  nodes: readonly GraphNode[];
  initializers: ReadonlyMap<string, StoredTensor>;
}

/** The calls, values and weights of a model. Throws `invalid_graph` or `unsupported`, naming the node or value. */
export function readGraph(model: ModelProto): Graph {
  const { graph } = model;
  if (graph === undefined) throw new GriffinError("invalid_graph", "The ONNX model has no graph.");
  const version = model.opsetImport?.find((entry) => entry.domain === domain)?.version;
  if (version !== domainVersion) {
    fail("unsupported", "The graph", `must import version ${domainVersion} of domain "${domain}", got ${version}`);
  }

  const inputs = (graph.input ?? []).map(readValue);
  const initializers = new Map((graph.initializer ?? []).map((tensor) => [tensor.name ?? "", readTensor(tensor)]));
  const defined = new Set<string>();
  const define = (name: string, where: string) => {
    if (name === "" || defined.has(name)) fail("invalid_graph", where, `"${name}" is empty or defined twice`);
    defined.add(name);
  };
  for (const { name } of [...inputs, ...(graph.initializer ?? [])]) define(name ?? "", "The graph's inputs");

  const nodes = (graph.node ?? []).map((proto, i) => {
    const node = readNode(proto, i);
    const where = describe(node);
    const undefinedInput = node.inputs.find((name) => !defined.has(name));
    if (undefinedInput !== undefined) {
      fail("invalid_graph", where, `input "${undefinedInput}" is not an input, a weight or an earlier output`);
    }
    for (const name of node.outputs) define(name, where);
    return node;
  });

  const outputs = (graph.output ?? []).map(readValue);
  for (const { name } of outputs) {
    if (!defined.has(name)) fail("invalid_graph", `Graph output "${name}"`, "is not computed by any node");
  }
  return { inputs, outputs, nodes, initializers };
}

function fail(code: ErrorCode, where: string, what: string): never {
  throw new GriffinError(code, `${where}: ${what}.`);
}

const describe = (node: { name: string; operator: string }) => `Node "${node.name}" (${node.operator})`;

function readNode(proto: NodeProto, index: number): GraphNode {
  const name = proto.name ?? `#${index}`;
  const operator = proto.opType ?? "";
  const where = describe({ name, operator });
  const signature = signatureOf(operator, where);
  if ((proto.domain ?? "") !== domainOf(signature.name)) {
    fail("unsupported", where, `domain "${proto.domain ?? ""}" has no such operator here`);
  }
  const inputs = (proto.input ?? []).slice();
  while (inputs.at(-1) === "") inputs.pop();
  const outputs = proto.output ?? [];
  const required = signature.inputs.length - (signature.optional?.length ?? 0);
  if (inputs.length < required || inputs.length > signature.inputs.length) {
    fail("invalid_graph", where, `takes the inputs ${signature.inputs.join(", ")}, got ${inputs.length}`);
  }
  if (outputs.length !== signature.outputs.length) {
    fail("invalid_graph", where, `has the outputs ${signature.outputs.join(", ")}, got ${outputs.length}`);
  }

  const attributes: Record<string, number> = {};
  for (const attribute of proto.attribute ?? []) {
    const key = attribute.name ?? "";
    const value = attribute.type === AttributeType.int ? attribute.i : attribute.f;
    if (!signature.attributes.includes(key)) fail("unsupported", where, `attribute "${key}" is not known`);
    if (value === undefined) fail("invalid_graph", where, `attribute "${key}" must be a number`);
    attributes[key] = value;
  }
  for (const key of signature.attributes) {
    if (attributes[key] === undefined) fail("invalid_graph", where, `attribute "${key}" is missing`);
  }
  return { name, operator: signature.name, inputs, outputs, attributes };
}

function readValue(proto: ValueInfoProto): GraphValue {
  const name = proto.name ?? "";
  const where = `Graph value "${name}"`;
  const tensor = proto.type?.tensorType;
  const shape = (tensor?.shape?.dim ?? []).map(({ dimValue, dimParam }) => {
    if (dimParam === "T") return dimParam;
    if (dimValue === undefined || dimValue < 0)
      fail("unsupported", where, `"${dimParam ?? dimValue}" is not a size or T`);
    return dimValue;
  });
  if (tensor?.shape === undefined) fail("invalid_graph", where, "must be a tensor with a shape");
  if (tensor.elemType === DataType.float) return { name, dtype: "f32", shape };
  if (tensor.elemType === DataType.int32) return { name, dtype: "i32", shape };
  return fail("unsupported", where, `element type ${tensor.elemType} is neither float nor int32`);
}

/** ONNX's element types of weights. */
export const weightDataTypes = {
  f32: DataType.float,
  bf16: DataType.bfloat16,
  i8: DataType.int8,
  i4: DataType.int4,
} as const satisfies Record<ElementType, number>;

const elementTypes = new Map<number, ElementType>(
  Object.entries(weightDataTypes).map(([dtype, dataType]) => [dataType, dtype as ElementType]),
);

function readTensor(proto: TensorProto): StoredTensor {
  const where = `Weight "${proto.name ?? ""}"`;
  const shape = proto.dims ?? [];
  const dtype = elementTypes.get(proto.dataType ?? 0);
  if (dtype === undefined) {
    fail("unsupported", where, `element type ${proto.dataType} is none of float, bfloat16, int8, int4`);
  }
  const external = new Map((proto.externalData ?? []).map(({ key, value }) => [key, value]));
  if (proto.dataLocation !== DataLocation.external || external.get("location") !== weightsFile) {
    fail("unsupported", where, `must lie in ${weightsFile}`);
  }
  const offsetBytes = Number(external.get("offset") ?? NaN);
  const lengthBytes = Number(external.get("length") ?? NaN);
  const expected = tensorBytes(dtype, shape);
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || lengthBytes !== expected) {
    const got = `offset ${external.get("offset")} and length ${external.get("length")}`;
    fail("invalid_graph", where, `[${shape.join(", ")}] of ${dtype} is ${expected} bytes, got ${got}`);
  }
  return { dtype, shape, offsetBytes, lengthBytes };
}
