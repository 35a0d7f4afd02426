// The kernels of wasm/ as the engine sees them: which export computes a call of a function, and with which arguments.
// A new layout or a faster kernel changes this file and its kernel, nothing else.
import { GriffinError } from "../errors.ts";
import type { OperatorName } from "../model/functions.ts";
import type { KvDtype } from "../model/state.ts";

type Kernel = (...args: number[]) => void;

const kernelNames = [
  "add",
  "block_diagonal",
  "causal_conv1d",
  "embed_bf16",
  "embed_f32",
  "gelu_mul",
  "linear_bf16",
  "linear_f32",
  "local_attention_bf16",
  "local_attention_f32",
  "rg_lru",
  "rms_norm",
  "silu_mul",
  "soft_cap",
] as const;
export type KernelName = (typeof kernelNames)[number];

/** The exports of griffin.wasm. Pointers are byte addresses; the host owns all memory from `heap_base()` on. */
export type Kernels = Record<KernelName | "pack_bf16" | "pack_f32", Kernel> & {
  memory: WebAssembly.Memory;
  heap_base(): number;
  local_attention_scratch(numHeads: number, headDim: number, window: number, rotaryDim: number): number;
};

/** One instance of griffin.wasm. The module has no imports. */
export async function instantiateKernels(module: WebAssembly.Module): Promise<Kernels> {
  const instance = await WebAssembly.instantiate(module, {});
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
  /** Rows and columns as this plan computes them: T is a number here. */
  shape: readonly number[];
  /** What an element is stored as. */
  dtype: KvDtype | "i32";
}

/** One call of a function with every operand in place. */
export interface BoundCall {
  /** Operand of an input or output of the function's signature; address 0 when an optional one is absent. */
  at(operand: string): Operand;
  attribute(name: string): number;
  /** Entries of the key/value ring in memory. */
  ringLength: number;
  scratchPtr: number;
}

interface Step {
  kernel: KernelName;
  args: number[];
}

interface KernelRule {
  bind(call: BoundCall): Step;
  /** Bytes the kernel needs besides its operands. */
  scratchBytes?(kernels: Kernels, call: Pick<BoundCall, "at" | "attribute">): number;
  /** Matrix input that lies in memory as panels of 8 rows. */
  panels?: string;
}

const bind =
  (kernel: KernelName, operands: readonly string[], sizes: (call: BoundCall) => number[]) => (call: BoundCall) => ({
    kernel,
    args: [...operands.map((name) => call.at(name).address), ...sizes(call)],
  });

const dim = (call: Pick<BoundCall, "at">, operand: string, axis: number) => call.at(operand).shape[axis] ?? 0;
const count = (call: BoundCall, operand: string) => call.at(operand).shape.reduce((product, size) => product * size, 1);
const narrow = (call: BoundCall, operand: string) => call.at(operand).dtype === "bf16";

/** How each operator of a graph becomes one kernel call. */
export const kernelRules: Record<OperatorName, KernelRule> = {
  embed: {
    panels: "table",
    bind: (call) =>
      bind(narrow(call, "table") ? "embed_bf16" : "embed_f32", ["y", "tokens", "table"], () => [
        dim(call, "y", 0),
        dim(call, "y", 1),
        call.attribute("scale"),
      ])(call),
  },
  rms_norm: {
    bind: bind("rms_norm", ["y", "x", "weight"], (call) => [
      dim(call, "y", 0),
      dim(call, "y", 1),
      call.attribute("epsilon"),
    ]),
  },
  linear: {
    panels: "weight",
    bind: (call) =>
      bind(narrow(call, "weight") ? "linear_bf16" : "linear_f32", ["y", "x", "weight", "bias"], () => [
        dim(call, "y", 0),
        dim(call, "y", 1),
        dim(call, "x", 1),
      ])(call),
  },
  gelu_mul: { bind: bind("gelu_mul", ["y", "gate", "x"], (call) => [count(call, "y")]) },
  silu_mul: { bind: bind("silu_mul", ["y", "gate", "x"], (call) => [count(call, "y")]) },
  causal_conv1d: {
    bind: bind("causal_conv1d", ["y", "x", "weight", "bias", "state"], (call) => [
      dim(call, "y", 0),
      dim(call, "y", 1),
    ]),
  },
  block_diagonal: {
    bind: bind("block_diagonal", ["y", "x", "weight", "bias"], (call) => [
      dim(call, "y", 0),
      dim(call, "weight", 0),
      dim(call, "weight", 1),
    ]),
  },
  rg_lru: {
    bind: bind("rg_lru", ["y", "x", "input_gate", "recurrent_gate", "a_param", "pos", "state"], (call) => [
      dim(call, "y", 0),
      dim(call, "y", 1),
    ]),
  },
  local_attention: {
    scratchBytes: (kernels, call) =>
      kernels.local_attention_scratch(...attentionHeads(call), dim(call, "keys", 0), call.attribute("rotary_dim")),
    bind: (call) => {
      const [numHeads, headDim] = attentionHeads(call);
      const operands = ["y", "q", "k", "v", "pos", "keys", "values"];
      return bind(narrow(call, "keys") ? "local_attention_bf16" : "local_attention_f32", operands, () => [
        call.scratchPtr,
        dim(call, "y", 0),
        numHeads,
        dim(call, "k", 1) / headDim,
        headDim,
        dim(call, "keys", 0),
        call.ringLength,
        call.attribute("rotary_dim"),
        call.attribute("rope_theta"),
      ])(call);
    },
  },
  soft_cap: { bind: bind("soft_cap", ["y", "x"], (call) => [count(call, "y"), call.attribute("cap")]) },
  Add: { bind: bind("add", ["y", "a", "b"], (call) => [count(call, "y")]) },
};

function attentionHeads(call: Pick<BoundCall, "at" | "attribute">): [numHeads: number, headDim: number] {
  const headDim = call.attribute("head_dim");
  return [dim(call, "q", 1) / headDim, headDim];
}
