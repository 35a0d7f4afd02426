// Body: writes the body of one ONNX function, one method call per node. Values are strings, named after the operator
// that made them; a value costs a node, so hold on to one that is needed twice.
import { AttributeType, DataType, type AttributeProto, type GraphProto, type NodeProto } from "./onnx.ts";
import { blockSize } from "./weights.ts";

/** Attributes of a node by name. */
export type Attributes = Readonly<Record<string, AttributeProto>>;

/** An integer attribute. */
export const int = (i: number): AttributeProto => ({ type: AttributeType.int, i });
/** A list of integers. */
export const ints = (...values: number[]): AttributeProto => ({ type: AttributeType.ints, ints: values });
/** A float attribute, rounded to f32 as the file holds it. */
export const float = (f: number): AttributeProto => ({ type: AttributeType.float, f: Math.fround(f) });
/** A string attribute. */
export const text = (s: string): AttributeProto => ({ type: AttributeType.string, s: new TextEncoder().encode(s) });
/** A graph attribute. */
export const graph = (g: GraphProto): AttributeProto => ({ type: AttributeType.graph, g });
/** The value of the function's own attribute `name`. */
export const intOf = (name: string): AttributeProto => ({ type: AttributeType.int, refAttrName: name });
/** The value of the function's own attribute `name`. */
export const floatOf = (name: string): AttributeProto => ({ type: AttributeType.float, refAttrName: name });

/** A node, with its attributes in the order given. */
export function node(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Attributes = {},
): NodeProto {
  const proto: NodeProto = { opType, input: [...inputs], output: [...outputs] };
  for (const [name, value] of Object.entries(attributes)) (proto.attribute ??= []).push({ name, ...value });
  return proto;
}

export class Body {
  readonly nodes: NodeProto[] = [];
  readonly #counts = new Map<string, number>();

  /** Adds a node with one output and gives that output's name. */
  op(opType: string, inputs: readonly string[], attributes?: Attributes): string {
    return this.ops(1, opType, inputs, attributes)[0] ?? "";
  }

  /** Adds a node with `count` outputs. */
  ops(count: number, opType: string, inputs: readonly string[], attributes?: Attributes): string[] {
    const outputs = Array.from({ length: count }, () => this.#fresh(opType.toLowerCase()));
    this.nodes.push(node(opType, inputs, outputs, attributes));
    return outputs;
  }

  add = (a: string, b: string) => this.op("Add", [a, b]);
  sub = (a: string, b: string) => this.op("Sub", [a, b]);
  mul = (a: string, b: string) => this.op("Mul", [a, b]);
  div = (a: string, b: string) => this.op("Div", [a, b]);

  /** An f32 scalar. */
  float = (value: number) => this.op("Constant", [], { value_float: float(value) });
  /** An int64 scalar. */
  int = (value: number) => this.op("Constant", [], { value_int: int(value) });
  /** A list of int64. */
  ints = (...values: number[]) => this.op("Constant", [], { value_ints: ints(...values) });
  /** The function's float attribute `name`, an f32 scalar. */
  floatAttribute = (name: string) => this.op("Constant", [], { value_float: floatOf(name) });
  /** The function's integer attribute `name`, a list of one int64. */
  intAttribute = (name: string) => this.unsqueeze(this.op("Constant", [], { value_int: intOf(name) }), 0);

  cast = (x: string, to: keyof typeof DataType) => this.op("Cast", [x], { to: int(DataType[to]) });
  /** Integers times the scale of their block along the last of two axes. */
  dequantize = (x: string, scale: string) =>
    this.op("DequantizeLinear", [x, scale], { axis: int(1), block_size: int(blockSize) });
  concat = (axis: number, ...parts: string[]) => this.op("Concat", parts, { axis: int(axis) });
  unsqueeze = (x: string, ...axes: number[]) => this.op("Unsqueeze", [x, this.ints(...axes)]);
  transpose = (x: string, ...perm: number[]) => this.op("Transpose", [x], { perm: ints(...perm) });
  /** `shape` holds lists of int64, put together; 0 keeps a dimension, −1 is what remains. */
  reshape = (x: string, ...shape: string[]) =>
    this.op("Reshape", [x, shape.length === 1 ? (shape[0] ?? "") : this.concat(0, ...shape)]);
  /** `x[start:end]` along one axis; start and end are lists of one int64, no end is the whole rest. */
  slice = (x: string, axis: number, start: string, end = this.ints(maxInt)) =>
    this.op("Slice", [x, start, end, this.ints(axis)]);
  /** Dimension `axis` of `x`, a list of one int64. */
  dim = (x: string, axis: number) => this.op("Shape", [x], { start: int(axis), end: int(axis + 1) });

  /** Gives values their final names, those of the function's outputs. */
  rename(names: ReadonlyMap<string, string>): void {
    const renamed = (name: string) => names.get(name) ?? name;
    for (const each of this.nodes) {
      each.input = each.input?.map(renamed);
      each.output = each.output?.map(renamed);
    }
  }

  #fresh(stem: string): string {
    const count = (this.#counts.get(stem) ?? 0) + 1;
    this.#counts.set(stem, count);
    return count === 1 ? stem : `${stem}_${count}`;
  }
}

/** As the end of a slice: past the end of every axis. */
const maxInt = 2 ** 31 - 1;
