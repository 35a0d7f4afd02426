// The functions of domain `griffin`: what a graph node may be. Each has a name, inputs, outputs, attributes
// and a shape rule here, a body in standard ONNX ops in bodies.ts, a kernel in wasm/ and one at the origin.
//
// Axes: T tokens · D width · R lru_width · E MLP width · N query heads · H head dim · B gate blocks
//       C key/value width (kv heads · H) · W attention window · V vocabulary · K, M in- and outputs of a linear
//       G blocks of 32 along the rows of a quantised matrix
import { GriffinError } from "../errors.ts";

export const functionNames = [
  "embed",
  "embed_q",
  "rms_norm",
  "linear",
  "linear_q",
  "gelu_mul",
  "silu_mul",
  "causal_conv1d",
  "block_diagonal",
  "rg_lru",
  "local_attention",
  "soft_cap",
] as const;
/** The functions of domain `griffin`, and the standard operators that a graph uses directly. */
export type FunctionName = (typeof functionNames)[number];
export type OperatorName = FunctionName | "Add";

/** A dimension: a number, or the symbol T where it is the number of tokens. */
export type Dim = number | "T";
export type Shape = readonly Dim[];

export interface FunctionSignature {
  /** Trailing inputs named in `optional` may be absent. */
  inputs: readonly string[];
  optional?: readonly string[];
  outputs: readonly string[];
  attributes: readonly string[];
  /** Row t of the output depends on row t of the inputs alone, so a caller may ask for some rows only. */
  rowWise: boolean;
  /** Input that output 0 may overwrite, when that input dies here. */
  inPlace?: string;
  /** Output → the input it replaces: a state, updated where it lies. */
  state?: Readonly<Record<string, string>>;
  /** Axis letters of every input and output; a letter has one value in one call, and digits are that number. */
  axes: Readonly<Record<string, readonly string[]>>;
}

export const signatures = {
  embed: {
    inputs: ["tokens", "table"],
    outputs: ["y"],
    attributes: ["scale"],
    rowWise: true,
    axes: { tokens: ["T"], table: ["V", "D"], y: ["T", "D"] },
  },
  /** table is int8 or int4; every 32 values of a row, the last ones fewer, share a scale. */
  embed_q: {
    inputs: ["tokens", "table", "block_scale"],
    outputs: ["y"],
    attributes: ["scale"],
    rowWise: true,
    axes: { tokens: ["T"], table: ["V", "D"], block_scale: ["V", "G"], y: ["T", "D"] },
  },
  rms_norm: {
    inputs: ["x", "weight"],
    outputs: ["y"],
    attributes: ["epsilon"],
    rowWise: true,
    inPlace: "x",
    axes: { x: ["T", "D"], weight: ["D"], y: ["T", "D"] },
  },
  linear: {
    inputs: ["x", "weight", "bias"],
    optional: ["bias"],
    outputs: ["y"],
    attributes: [],
    rowWise: true,
    axes: { x: ["T", "K"], weight: ["M", "K"], bias: ["M"], y: ["T", "M"] },
  },
  /** weight as embed_q's table; x is rounded to int8 in blocks of 32 first, which is part of the function. */
  linear_q: {
    inputs: ["x", "weight", "block_scale", "bias"],
    optional: ["bias"],
    outputs: ["y"],
    attributes: [],
    rowWise: true,
    axes: { x: ["T", "K"], weight: ["M", "K"], block_scale: ["M", "G"], bias: ["M"], y: ["T", "M"] },
  },
  gelu_mul: {
    inputs: ["gate", "x"],
    outputs: ["y"],
    attributes: [],
    rowWise: true,
    inPlace: "gate",
    axes: { gate: ["T", "E"], x: ["T", "E"], y: ["T", "E"] },
  },
  silu_mul: {
    inputs: ["gate", "x"],
    outputs: ["y"],
    attributes: [],
    rowWise: true,
    inPlace: "gate",
    axes: { gate: ["T", "E"], x: ["T", "E"], y: ["T", "E"] },
  },
  /** weight row 3 is the tap of the current token; state holds the last three inputs, oldest first. */
  causal_conv1d: {
    inputs: ["x", "weight", "bias", "state"],
    outputs: ["y", "new_state"],
    attributes: [],
    rowWise: false,
    state: { new_state: "state" },
    axes: {
      x: ["T", "R"],
      weight: ["4", "R"],
      bias: ["R"],
      state: ["3", "R"],
      y: ["T", "R"],
      new_state: ["3", "R"],
    },
  },
  /** weight is stored [block, in, out]: y = x @ W, unlike linear. */
  block_diagonal: {
    inputs: ["x", "weight", "bias"],
    outputs: ["y"],
    attributes: [],
    rowWise: true,
    axes: { x: ["T", "R"], weight: ["B", "S", "S"], bias: ["B", "S"], y: ["T", "R"] },
  },
  /** input_gate and recurrent_gate arrive before their sigmoid. */
  rg_lru: {
    inputs: ["x", "input_gate", "recurrent_gate", "a_param", "pos", "state"],
    outputs: ["y", "new_state"],
    attributes: [],
    rowWise: false,
    state: { new_state: "state" },
    axes: {
      x: ["T", "R"],
      input_gate: ["T", "R"],
      recurrent_gate: ["T", "R"],
      a_param: ["R"],
      pos: ["T"],
      state: ["R"],
      y: ["T", "R"],
      new_state: ["R"],
    },
  },
  /** keys and values are rings: the entry of position p lies in slot p mod W, keys after RoPE. kv_dtype is an
   *  ONNX element type (1 f32, 16 bf16): what keys and values are rounded to before any query reads them. */
  local_attention: {
    inputs: ["q", "k", "v", "pos", "keys", "values"],
    outputs: ["y", "new_keys", "new_values"],
    attributes: ["head_dim", "rotary_dim", "rope_theta", "kv_dtype"],
    rowWise: false,
    state: { new_keys: "keys", new_values: "values" },
    axes: {
      q: ["T", "Q"],
      k: ["T", "C"],
      v: ["T", "C"],
      pos: ["T"],
      keys: ["W", "C"],
      values: ["W", "C"],
      y: ["T", "Q"],
      new_keys: ["W", "C"],
      new_values: ["W", "C"],
    },
  },
  soft_cap: {
    inputs: ["x"],
    outputs: ["y"],
    attributes: ["cap"],
    rowWise: true,
    inPlace: "x",
    axes: { x: ["T", "V"], y: ["T", "V"] },
  },
  Add: {
    inputs: ["a", "b"],
    outputs: ["y"],
    attributes: [],
    rowWise: true,
    inPlace: "a",
    axes: { a: ["T", "D"], b: ["T", "D"], y: ["T", "D"] },
  },
} as const satisfies Record<OperatorName, FunctionSignature>;

/** The signature of an operator, or an `unsupported` error that names it and `where` it was called. */
export function signatureOf(operator: string, where = "The graph"): FunctionSignature & { name: OperatorName } {
  if (!Object.hasOwn(signatures, operator)) {
    throw new GriffinError(
      "unsupported",
      `${where} calls "${operator}", which is not one of ${Object.keys(signatures).join(", ")}.`,
    );
  }
  const name = operator as OperatorName;
  return { name, ...signatures[name] };
}

/** Output shapes of one call, by unifying the axis letters of its inputs; `where` names the node in errors. */
export function outputShapes(
  signature: FunctionSignature,
  inputs: readonly (Shape | undefined)[],
  where: string,
): Shape[] {
  const bound = new Map<string, Dim>();
  signature.inputs.forEach((name, i) => {
    const shape = inputs[i];
    if (shape === undefined) {
      if (signature.optional?.includes(name)) return;
      throw new GriffinError("invalid_graph", `${where}: input "${name}" is missing.`);
    }
    const axes = signature.axes[name] ?? [];
    const fits =
      shape.length === axes.length &&
      axes.every((axis, d) => {
        const expected = /^\d/.test(axis) ? Number(axis) : bound.get(axis);
        if (expected === undefined) bound.set(axis, shape[d] as Dim);
        return expected === undefined || expected === shape[d];
      });
    if (!fits) {
      const want = axes.map((axis) => bound.get(axis) ?? axis).join(", ");
      throw new GriffinError(
        "invalid_graph",
        `${where}: input "${name}" must be [${want}], got [${shape.join(", ")}].`,
      );
    }
  });
  return signature.outputs.map((name) =>
    (signature.axes[name] ?? []).map((axis) => (/^\d/.test(axis) ? Number(axis) : (bound.get(axis) ?? 0))),
  );
}
