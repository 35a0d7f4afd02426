// The kernels of wasm/ as the engine sees them: which export computes a call of a function, and with which arguments.
// How matrices lie in memory for them is packing.ts's business.
import { GriffinError } from "../errors.ts";
import type { ElementType } from "../model/weights.ts";
import { stepSignatures, type StepNode, type StepOperator } from "./fuse.ts";

type Kernel = (...args: number[]) => number | undefined;

export const kernelNames = [
  "add",
  "block_diagonal",
  "causal_conv1d",
  "embed_bf16",
  "embed_f32",
  "embed_i4",
  "embed_i8",
  "gelu_mul",
  "linear_bf16",
  "linear_f32",
  "linear_i4",
  "linear_i8",
  "local_attention_bf16",
  "local_attention_f32",
  "recurrence",
  "rg_lru",
  "rms_norm",
  "silu_mul",
  "soft_cap",
] as const;
export type KernelName = (typeof kernelNames)[number];

type PackName = `pack_${ElementType}` | "pack_scales_i4" | "pack_scales_i8";

/** The exports of griffin.wasm. Pointers are byte addresses; the host owns all memory from `heap_base()` on. */
export type Kernels = Record<KernelName | PackName, Kernel> & {
  memory: WebAssembly.Memory;
  heap_base(): number;
  linear_q_scratch(tokens: number, columns: number): number;
  local_attention_scratch(numHeads: number, headDim: number, window: number, rotaryDim: number): number;
};

/** One instance of griffin.wasm. What a module for threads imports is the memory that they share. */
export async function instantiateKernels(module: WebAssembly.Module, memory?: WebAssembly.Memory): Promise<Kernels> {
  const instance = await WebAssembly.instantiate(module, memory === undefined ? {} : { env: { memory } });
  const missing = kernelNames.filter((name) => typeof instance.exports[name] !== "function");
  if (missing.length > 0) {
    throw new GriffinError("internal", `griffin.wasm lacks the kernels ${missing.join(", ")}: build it again.`);
  }
  return instance.exports as Kernels;
}

/** Where one operand lies and what it is. */
export interface Operand {
  name: string;
  address: number;
  /** true: the address is relative to the slot in which the pass runs. */
  inSlot: boolean;
  /** As this plan computes them: T is a number here. */
  shape: readonly number[];
  /** What an element is stored as. */
  dtype: ElementType | "i32";
  /** Of a packed matrix: how many rows are together, in how many bytes. */
  panel?: { rows: number; bytes: number };
}

/** One call of a function with every operand in place. */
export interface BoundCall extends NodeSizes {
  /** Operand of an input or output of the function's signature; address 0 when an optional one is absent. */
  at(operand: string): Operand;
  /** Entries of the key/value ring in memory. */
  ringLength: number;
  scratchPtr: number;
}

/** Sizes of the operands of a node, and its attributes. */
export interface NodeSizes {
  dim(operand: string, axis: number): number;
  attribute(name: string): number;
}

/** A kernel and its arguments: addresses, sizes, attributes. */
export interface KernelCall {
  kernel: KernelName;
  args: readonly number[];
  /** Which arguments are addresses relative to the slot. */
  slotArgs: readonly number[];
}

interface KernelRule {
  bind(call: BoundCall): KernelCall;
  /** Bytes the kernel needs besides its operands; each share of a call needs as many. */
  scratchBytes?(kernels: Kernels, sizes: NodeSizes): number;
  /** Arguments of calls that together compute what one call computes, so many at most. */
  share?(call: BoundCall, args: readonly number[], most: number, scratchBytes: number): number[][];
}

/** Multiplications of a share at the least: telling the others of a call takes some microseconds. */
const leastShare = 2 ** 16;

/** Shares of a linear: whole panels of its matrix. `at` says where these are among the arguments. */
function shareRows(at: { M: number; other: number; scratch?: number }): KernelRule["share"] {
  return ({ at: operand, dim }, args, most, scratchBytes) => {
    const [M, panel] = [dim("y", 1), operand("weight").panel];
    if (panel === undefined) return [];
    const panels = Math.ceil(M / panel.rows);
    const count = Math.min(most, panels, Math.floor((dim("y", 0) * M * dim("x", 1)) / leastShare));
    if (count < 2) return [];
    const first = (share: number) => Math.floor((panels * share) / count);
    return Array.from({ length: count }, (_, share) => {
      const [from, to] = [first(share), first(share + 1)];
      const [y = 0, x = 0, weight = 0, bias = 0] = args;
      const rowBytes = from * panel.rows * 4;
      const shared = [y + rowBytes, x, weight + from * panel.bytes, bias === 0 ? 0 : bias + rowBytes, ...args.slice(4)];
      shared[at.M] = Math.min(to * panel.rows, M) - from * panel.rows;
      if (args[at.other] !== 0) shared[at.other] = (args[at.other] ?? 0) + rowBytes;
      if (at.scratch !== undefined) shared[at.scratch] = (args[at.scratch] ?? 0) + share * scratchBytes;
      return shared;
    });
  };
}

const bind =
  (kernel: KernelName, operands: readonly string[], sizes: (call: BoundCall) => number[]) =>
  (call: BoundCall): KernelCall => {
    const placed = operands.map(call.at);
    return {
      kernel,
      args: [...placed.map(({ address }) => address), ...sizes(call)],
      slotArgs: placed.flatMap(({ inSlot }, i) => (inSlot ? [i] : [])),
    };
  };

/** T, M, K of a linear, how far apart the rows of y are, and what y gates. */
const linearSizes = (call: BoundCall, activation = 0, other = 0) => [
  ...rowsAndColumns(call),
  call.dim("x", 1),
  call.dim("y", 1),
  activation,
  other,
];
const gateSizes = (call: BoundCall) => linearSizes(call, call.attribute("activation"), call.at("other").address);
const bindLinear =
  (sizes: (call: BoundCall) => number[]): KernelRule["bind"] =>
  (call) =>
    bind(kernelOf("linear", call, "weight"), ["y", "x", "weight", "bias"], sizes)(call);
const linearQ = (sizes: (call: BoundCall) => number[]): KernelRule => ({
  bind: bindLinear((call) => [call.scratchPtr, ...sizes(call)]),
  scratchBytes: (kernels, { dim }) => kernels.linear_q_scratch(dim("x", 0), dim("x", 1)),
  share: shareRows({ scratch: 4, M: 6, other: 10 }),
});
const rowsAndColumns = ({ dim }: BoundCall) => [dim("y", 0), dim("y", 1)];
const count = ({ dim }: BoundCall) => dim("y", 0) * dim("y", 1);
/** The kernel of a function for the element type of one of its operands. */
const kernelOf = (name: string, call: BoundCall, operand: string): KernelName => {
  const kernel = kernelNames.find((known) => known === `${name}_${call.at(operand).dtype}`);
  if (kernel === undefined) {
    throw new GriffinError("invalid_graph", `There is no ${name} for "${operand}" of ${call.at(operand).dtype}.`);
  }
  return kernel;
};

/** Query heads and dims of a head of a local_attention. */
function headsOf({ dim, attribute }: NodeSizes): [numHeads: number, headDim: number] {
  const headDim = attribute("head_dim");
  return [dim("q", 1) / headDim, headDim];
}

const bindEmbed = (call: BoundCall) =>
  bind(kernelOf("embed", call, "table"), ["y", "tokens", "table"], () => [
    ...rowsAndColumns(call),
    call.attribute("scale"),
  ])(call);

/** How each operator of a graph becomes one kernel call. */
export const kernelRules: Record<StepOperator, KernelRule> = {
  embed: {
    bind: bindEmbed,
  },
  embed_q: {
    bind: bindEmbed,
  },
  rms_norm: {
    bind: bind("rms_norm", ["y", "x", "weight"], (call) => [...rowsAndColumns(call), call.attribute("epsilon")]),
  },
  linear: { bind: bindLinear((call) => linearSizes(call)), share: shareRows({ M: 5, other: 9 }) },
  gated_linear: { bind: bindLinear(gateSizes), share: shareRows({ M: 5, other: 9 }) },
  linear_q: linearQ((call) => linearSizes(call)),
  gated_linear_q: linearQ(gateSizes),
  gelu_mul: { bind: bind("gelu_mul", ["y", "gate", "x"], (call) => [count(call)]) },
  silu_mul: { bind: bind("silu_mul", ["y", "gate", "x"], (call) => [count(call)]) },
  causal_conv1d: { bind: bind("causal_conv1d", ["y", "x", "weight", "bias", "state"], rowsAndColumns) },
  block_diagonal: {
    bind: bind("block_diagonal", ["y", "x", "weight", "bias"], ({ dim }) => [
      dim("y", 0),
      dim("weight", 0),
      dim("weight", 1),
    ]),
  },
  rg_lru: {
    bind: bind("rg_lru", ["y", "x", "input_gate", "recurrent_gate", "a_param", "pos", "state"], rowsAndColumns),
  },
  recurrence: {
    scratchBytes: (_, { dim }) => 3 * dim("x", 0) * dim("input_weight", 1) * 4,
    bind: (call) =>
      bind("recurrence", ["y", ...stepSignatures.recurrence.inputs], ({ dim, scratchPtr }) => [
        scratchPtr,
        dim("y", 0),
        dim("input_weight", 0),
        dim("input_weight", 1),
      ])(call),
  },
  local_attention: {
    scratchBytes: (kernels, sizes) =>
      kernels.local_attention_scratch(...headsOf(sizes), sizes.dim("keys", 0), sizes.attribute("rotary_dim")),
    bind: (call) => {
      const [numHeads, headDim] = headsOf(call);
      return bind(
        kernelOf("local_attention", call, "keys"),
        ["y", "q", "k", "v", "pos", "keys", "values"],
        ({ dim, attribute }) => [
          call.scratchPtr,
          dim("y", 0),
          numHeads,
          dim("k", 1) / headDim,
          headDim,
          dim("keys", 0),
          call.ringLength,
          attribute("rotary_dim"),
          attribute("rope_theta"),
        ],
      )(call);
    },
  },
  soft_cap: { bind: bind("soft_cap", ["y", "x"], (call) => [count(call), call.attribute("cap")]) },
  Add: { bind: bind("add", ["y", "a", "b"], (call) => [count(call)]) },
};

/** An attribute that the node's signature promises. */
export function attributeOf(node: StepNode, name: string): number {
  const value = node.attributes[name];
  if (value === undefined) throw new GriffinError("invalid_graph", `Node "${node.name}": "${name}" is missing.`);
  return value;
}
