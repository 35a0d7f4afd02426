// What this engine runs in one go where the graph has several calls: what one leaves is still in registers, or in the
// nearest cache, when the next one takes it. The bits are those of the calls one by one. The graph stays as it is, for
// other engines fuse in ways of their own.
//
//  gated_linear, gated_linear_q   linear, then gelu_mul or silu_mul with the linear's output as the gate: of the MLP and
//                                 of the recurrent block
//  recurrence                     causal_conv1d, both block_diagonal of the gates, rg_lru: block by block
import { signatures, type FunctionSignature, type OperatorName } from "../model/functions.ts";
import type { GraphNode } from "../model/graph.ts";

export type StepOperator = OperatorName | "gated_linear" | "gated_linear_q" | "recurrence";

/** One call of a kernel: a node of the graph, or what several were fused into. Inputs that are absent are "". */
export interface StepNode extends Omit<GraphNode, "operator"> {
  operator: StepOperator;
}

/** A linear whose output is the gate of `other`. */
const gated = ({ inputs, axes, ...signature }: FunctionSignature): FunctionSignature => ({
  ...signature,
  inputs: [...inputs, "other"],
  attributes: ["activation"],
  inPlace: "other",
  axes: { ...axes, other: ["T", "M"] },
});

export const stepSignatures: Record<StepOperator, FunctionSignature> = {
  ...signatures,
  gated_linear: gated(signatures.linear),
  gated_linear_q: gated(signatures.linear_q),
  recurrence: {
    inputs: [
      "x",
      "conv_weight",
      "conv_bias",
      "conv_state",
      "input_weight",
      "input_bias",
      "recurrent_weight",
      "recurrent_bias",
      "a_param",
      "pos",
      "state",
    ],
    outputs: ["y", "new_conv_state", "new_state"],
    attributes: [],
    rowWise: false,
    state: { new_conv_state: "conv_state", new_state: "state" },
    axes: {
      x: ["T", "R"],
      conv_weight: ["4", "R"],
      conv_bias: ["R"],
      conv_state: ["3", "R"],
      input_weight: ["B", "S", "S"],
      input_bias: ["B", "S"],
      recurrent_weight: ["B", "S", "S"],
      recurrent_bias: ["B", "S"],
      a_param: ["R"],
      pos: ["T"],
      state: ["R"],
      y: ["T", "R"],
      new_conv_state: ["3", "R"],
      new_state: ["R"],
    },
  },
};

/** A node's inputs, the optional ones that it leaves out as "". */
const inputsOf = ({ operator, inputs }: GraphNode) => signatures[operator].inputs.map((_, i) => inputs[i] ?? "");

/** As the kernels of linears take them; 0 is none. */
const activations: Partial<Record<StepOperator, number>> = { gelu_mul: 1, silu_mul: 2 };

/**
 * The calls to make, in order, for these nodes; each fused one stands where the last of its nodes stood. `results`:
 * values that are wanted for themselves, which no fused call may swallow.
 */
export function fuse(nodes: readonly GraphNode[], results: readonly string[]): StepNode[] {
  const makers = new Map(nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  const uses = new Map<string, number>();
  for (const name of [...nodes.flatMap(({ inputs }) => inputs), ...results]) uses.set(name, (uses.get(name) ?? 0) + 1);
  /** The node that makes a value, if it is one of these operators and nobody else takes the value. */
  const makerOf = (name: string | undefined, operators: readonly OperatorName[], times = 1) => {
    const maker = makers.get(name ?? "");
    return maker && operators.includes(maker.operator) && uses.get(name ?? "") === times ? maker : undefined;
  };

  const gone = new Set<GraphNode>();
  const fuseGate = (node: GraphNode): StepNode => {
    const [gate, other = ""] = node.inputs;
    const activation = activations[node.operator];
    const maker = activation === undefined ? undefined : makerOf(gate, ["linear", "linear_q"]);
    // The result lies where `other` did, row by row of it, while the linear still reads all of its own input.
    if (activation === undefined || maker === undefined || maker.inputs.includes(other)) return node;
    gone.add(maker);
    const operator = maker.operator === "linear" ? "gated_linear" : "gated_linear_q";
    return { ...node, operator, inputs: [...inputsOf(maker), other], attributes: { activation } };
  };
  const fuseRecurrence = (node: GraphNode): StepNode => {
    const [c, input, recurrent, ...rest] = node.inputs;
    const [conv, ...gates] = [
      makerOf(c, ["causal_conv1d"], 3),
      makerOf(input, ["block_diagonal"]),
      makerOf(recurrent, ["block_diagonal"]),
    ];
    if (conv === undefined || !gates.every((gate) => gate?.inputs[0] === c)) return node;
    const weights = gates.flatMap((gate) => (gate === undefined ? [] : inputsOf(gate).slice(1)));
    for (const each of [conv, ...gates]) if (each !== undefined) gone.add(each);
    const [y = "", state = ""] = node.outputs;
    const outputs = [y, conv.outputs[1] ?? "", state];
    return {
      ...node,
      operator: "recurrence",
      inputs: [...inputsOf(conv), ...weights, ...rest],
      outputs,
      attributes: {},
    };
  };
  const steps = nodes.map(
    (node) => [node, node.operator === "rg_lru" ? fuseRecurrence(node) : fuseGate(node)] as const,
  );
  return steps.filter(([node]) => !gone.has(node)).map(([, step]) => step);
}
