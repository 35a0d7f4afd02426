// The bodies of our functions in standard ONNX operators (opset 21): what each function means, written so that any
// ONNX runtime can run it. Kernels are measured against them. Inputs and outputs come in the order of `signatures`.
// Formulas: RecurrentGemma (arXiv 2404.07839) and the code of google-deepmind/recurrentgemma.
import { Body, graph, int, intOf, node, text } from "./body-builder.ts";
import { signatures, type FunctionName, type FunctionSignature } from "./functions.ts";
import { domain } from "./graph.ts";
import { DataType, tensorValue, type FunctionProto } from "./onnx.ts";
import { blockSize } from "./weights.ts";

export const opset = 21;

/** Adds the nodes of a function to `b` and gives its outputs. */
type BodyWriter = (b: Body, ...inputs: string[]) => string[];

const bodies: Record<FunctionName, { doc: string; write: BodyWriter }> = {
  embed: {
    doc: "y = table[tokens] * scale",
    write: (b, tokens, table) => {
      const rows = b.cast(b.op("Gather", [table, tokens]), "float");
      return [b.mul(rows, b.floatAttribute("scale"))];
    },
  },
  embed_q: {
    doc: "y = dequantized table[tokens] * scale",
    write: (b, tokens, table, blockScale) => {
      const rows = b.op("Gather", [b.dequantize(table, blockScale), tokens]);
      return [b.mul(rows, b.floatAttribute("scale"))];
    },
  },
  rms_norm: {
    doc: "y = x / sqrt(mean(x^2) + epsilon) * (1 + weight)",
    write: (b, x, weight) => {
      const meanSquare = b.op("ReduceMean", [b.mul(x, x), b.ints(-1)]);
      const norm = b.op("Sqrt", [b.add(meanSquare, b.floatAttribute("epsilon"))]);
      return [b.mul(b.div(x, norm), b.add(weight, b.float(1)))];
    },
  },
  linear: {
    doc: "y = x @ weight.T + bias",
    write: (b, x, weight, bias) => [b.op("Gemm", [x, b.cast(weight, "float"), bias], { transB: int(1) })],
  },
  linear_q: {
    doc: "y = x @ dequantized weight.T + bias, x rounded to int8 in blocks of 32 along K: q = round(x * 127 / max), x = q * (max / 127)",
    write: (b, x, weight, blockScale, bias) => [
      b.op("Gemm", [roundedRows(b, x), b.dequantize(weight, blockScale), bias], { transB: int(1) }),
    ],
  },
  gelu_mul: {
    doc: "y = gelu_tanh(gate) * x",
    write: (b, gate, x) => [b.mul(b.op("Gelu", [gate], { approximate: text("tanh") }), x)],
  },
  silu_mul: {
    doc: "y = gate * sigmoid(gate) * x",
    write: (b, gate, x) => [b.mul(b.mul(gate, b.op("Sigmoid", [gate])), x)],
  },
  causal_conv1d: {
    doc: "y[t] = sum over s of weight[s] * x[t - 3 + s], oldest first, + bias; new_state is the last three x",
    write: causalConv1d,
  },
  block_diagonal: {
    doc: "y = x @ weight + bias in every block; weight is [block, in, out]",
    write: (b, x, weight, bias) => {
      const blocks = b.transpose(b.reshape(x, b.ints(0), b.op("Shape", [bias])), 1, 0, 2);
      const product = b.transpose(b.op("MatMul", [blocks, weight]), 1, 0, 2);
      return [b.reshape(b.add(product, bias), b.op("Shape", [x]))];
    },
  },
  rg_lru: {
    doc: "h = a * h + sqrt(1 - a^2) * sigmoid(input_gate) * x; log a = -8 * sigmoid(recurrent_gate) * softplus(a_param); at position 0: a = 0, and 1 for the root",
    write: rgLru,
  },
  local_attention: {
    doc: "Attention over the token itself and the W before it; RoPE on the leading rotary_dim of every head; keys and values are rings, position p in slot p mod W",
    write: localAttention,
  },
  soft_cap: {
    doc: "y = cap * tanh(x / cap)",
    write: (b, x) => {
      const cap = b.floatAttribute("cap");
      return [b.mul(b.op("Tanh", [b.div(x, cap)]), cap)];
    },
  },
};

/** x as int8 with a scale for every 32 of a row would hold it. */
function roundedRows(b: Body, x: string): string {
  const block = b.ints(blockSize);
  const width = b.dim(x, 1);
  const missing = b.op("Mod", [b.sub(b.ints(0), width), block]);
  const padded = b.op("Pad", [x, b.concat(0, b.ints(0, 0, 0), missing), b.float(0)]);
  const blocks = b.reshape(padded, b.ints(0, -1), block);
  const max = b.op("ReduceMax", [b.op("Abs", [blocks]), b.ints(-1)]);
  const isZero = b.op("Less", [max, b.float(smallestMax)]);
  const factor = b.op("Where", [isZero, b.float(0), b.div(b.float(127), max)]);
  const q = b.op("Round", [b.mul(blocks, factor)]);
  const flat = b.reshape(b.mul(q, b.div(max, b.float(127))), b.ints(0, -1));
  return b.slice(flat, 1, b.ints(0), width);
}

/** A block whose largest magnitude is below this is zero: 127 / max would not be finite. */
const smallestMax = 1e-36;

function causalConv1d(b: Body, x: string, weight: string, bias: string, state: string): string[] {
  const inputs = b.concat(0, state, x);
  const taps = [0, 1, 2, 3].map((tap) => {
    const shifted = b.slice(inputs, 0, b.ints(tap), tap < 3 ? b.ints(tap - 3) : undefined);
    return b.mul(shifted, b.op("Gather", [weight, b.int(tap)]));
  });
  return [b.add(taps.reduce(b.add), bias), b.slice(inputs, 0, b.ints(-3))];
}

/** The decay goes through f64, so that a² is the f32 nearest to it: where a ≈ 1 the root magnifies a last bit of a².
 *  1 − a² itself is taken in f32, as recurrentgemma does; models are trained with it. */
function rgLru(
  b: Body,
  x: string,
  inputGate: string,
  recurrentGate: string,
  aParam: string,
  pos: string,
  state: string,
): string[] {
  const rate = b.mul(b.op("Softplus", [aParam]), b.float(-8));
  const logA = b.mul(b.op("Sigmoid", [b.cast(recurrentGate, "double")]), b.cast(rate, "double"));
  const squareOfA = b.cast(b.op("Exp", [b.add(logA, logA)]), "float");
  const root = b.op("Sqrt", [b.sub(b.float(1), squareOfA)]);
  const isFirst = b.unsqueeze(b.op("Equal", [b.cast(pos, "int64"), b.int(0)]), 1);
  const a = b.op("Where", [isFirst, b.float(0), b.cast(b.op("Exp", [logA]), "float")]);
  const multiplier = b.op("Where", [isFirst, b.float(1), root]);
  const input = b.mul(multiplier, b.mul(b.op("Sigmoid", [inputGate]), x));

  const step = {
    name: "step",
    node: [
      node("Mul", ["a_t", "h_before"], ["decayed"]),
      node("Add", ["decayed", "x_t"], ["h"]),
      node("Identity", ["h"], ["y_t"]),
    ],
    input: ["h_before", "a_t", "x_t"].map(stepValue),
    output: ["h", "y_t"].map(stepValue),
  };
  const [newState = "", all = ""] = b.ops(2, "Scan", [state, a, input], {
    num_scan_inputs: int(2),
    body: graph(step),
  });
  return [all, newState];
}

const stepValue = (name: string) => tensorValue(name, DataType.float, ["R"]);

function localAttention(b: Body, q: string, k: string, v: string, pos: string, keys: string, values: string): string[] {
  const position = b.cast(pos, "int64");
  const headDim = b.intAttribute("head_dim");
  const window = b.dim(keys, 0);
  const rounded = (x: string) => b.cast(b.op("Cast", [x], { to: intOf("kv_dtype") }), "float");

  const turn = rotation(b, position);
  const heads = (x: string) => b.reshape(x, b.ints(0, -1), headDim);
  const turnedQ = turn(heads(q));
  const newK = rounded(b.reshape(turn(heads(k)), b.ints(0, -1)));
  const newV = rounded(v);

  // Every query head with its key/value head: [kv head, query head of it, token, H].
  const kvHeads = b.div(b.dim(k, 1), headDim);
  const grouped = b.transpose(b.reshape(turnedQ, b.ints(0), kvHeads, b.ints(-1), headDim), 1, 2, 0, 3);
  const split = (x: string) => b.reshape(x, b.ints(0), kvHeads, headDim);
  const allKeys = b.unsqueeze(b.transpose(split(b.concat(0, keys, newK)), 1, 2, 0), 1);
  const allValues = b.unsqueeze(b.transpose(split(b.concat(0, values, newV)), 1, 0, 2), 1);
  const scale = b.op("Sqrt", [b.cast(headDim, "float")]);
  const scores = b.div(b.op("MatMul", [grouped, allKeys]), scale);

  const visible = visibility(b, position, window);
  const masked = b.op("Where", [visible, scores, b.float(-Infinity)]);
  const mixed = b.op("MatMul", [b.op("Softmax", [masked], { axis: int(-1) }), allValues]);
  const y = b.reshape(b.transpose(mixed, 2, 0, 1, 3), b.op("Shape", [q]));

  // Of more tokens than the ring has slots only the last W are written: no slot twice.
  const lastW = b.op("Neg", [window]);
  const slots = b.unsqueeze(b.op("Mod", [b.slice(position, 0, lastW), window]), 1);
  const write = (ring: string, rows: string) => b.op("ScatterND", [ring, slots, b.slice(rows, 0, lastW)]);
  return [y, write(keys, newK), write(values, newV)];
}

/** RoPE over [T, heads, H]. Angles in f64: in f32 they are 6e-3 off at position 100 000. */
function rotation(b: Body, position: string): (x: string) => string {
  const rotaryDim = b.intAttribute("rotary_dim");
  const half = b.div(rotaryDim, b.ints(2));
  const scalar = (x: string) => b.op("Squeeze", [x]);
  const index = b.op("Range", [b.int(0), scalar(half), b.int(1)]);
  const exponent = b.div(b.cast(index, "double"), b.cast(half, "double"));
  const wavelength = b.op("Pow", [b.cast(b.floatAttribute("rope_theta"), "double"), exponent]);
  const angle = b.div(b.cast(b.unsqueeze(position, 1, 2), "double"), wavelength);
  const cos = b.cast(b.op("Cos", [angle]), "float");
  const sin = b.cast(b.op("Sin", [angle]), "float");
  return (x) => {
    const first = b.slice(x, 2, b.ints(0), half);
    const second = b.slice(x, 2, half, rotaryDim);
    return b.concat(
      2,
      b.sub(b.mul(first, cos), b.mul(second, sin)),
      b.add(b.mul(second, cos), b.mul(first, sin)),
      b.slice(x, 2, rotaryDim),
    );
  };
}

/** [T, W + T]: which ring slots and new tokens a query sees. Slot j holds the last position p < pos[0] with p mod W = j. */
function visibility(b: Body, position: string, window: string): string {
  const last = b.sub(b.slice(position, 0, b.ints(0), b.ints(1)), b.ints(1));
  const slot = b.op("Range", [b.int(0), b.op("Squeeze", [window]), b.int(1)]);
  const age = b.op("Mod", [b.sub(last, slot), window]);
  const keyPosition = b.concat(0, b.sub(last, age), position);
  const queryPosition = b.unsqueeze(position, 1);
  const notFuture = b.op("LessOrEqual", [keyPosition, queryPosition]);
  const inWindow = b.op("GreaterOrEqual", [b.add(keyPosition, window), queryPosition]);
  const written = b.op("GreaterOrEqual", [keyPosition, b.int(0)]);
  return b.op("And", [b.op("And", [notFuture, inWindow]), written]);
}

/** The ONNX local function of a name. */
export function functionBody(name: FunctionName): FunctionProto {
  const signature: FunctionSignature = signatures[name];
  const { doc, write } = bodies[name];
  const body = new Body();
  const results = write(body, ...signature.inputs);
  body.rename(new Map(results.map((result, i) => [result, signature.outputs[i] ?? ""])));
  return {
    name,
    input: [...signature.inputs],
    output: [...signature.outputs],
    attribute: [...signature.attributes],
    node: body.nodes,
    docString: doc,
    opsetImport: [{ domain: "", version: opset }],
    domain,
  };
}
