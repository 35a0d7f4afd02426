// Plan: the graph with every tensor at a fixed address, for one number of tokens and one slot. It is data: `execute`
// runs it, `griffin plan` prints it. Three passes: which rows are needed, how long values live, who calls what.
import { GriffinError } from "../errors.ts";
import { outputShapes, signatureOf, type Shape } from "../model/functions.ts";
import type { Graph, GraphNode } from "../model/graph.ts";
import { placeLifetimes, type Lifetime } from "./arena.ts";
import { demandedRows, type Rows } from "./demand.ts";
import { kernelRules, type BoundCall, type KernelName, type Kernels, type Operand } from "./kernels.ts";
import type { MemoryLayout } from "./memory.ts";

export interface PlanStep {
  /** Name of the graph's node. */
  node: string;
  kernel: KernelName;
  /** Arguments of the kernel: addresses, sizes, attributes. */
  args: readonly number[];
  operands: readonly Operand[];
}

export interface Plan {
  tokens: number;
  logits: Rows;
  steps: readonly PlanStep[];
  /** Where the caller writes [T] i32 before each run. */
  tokensPtr: number;
  posPtr: number;
  /** Where a run leaves the logits, [T or 1, V] f32; 0 when it computes none. */
  logitsPtr: number;
}

/** A graph's calls for one T, with the arena laid out but nothing placed in memory yet. */
export interface Schedule {
  graph: Graph;
  kernels: Kernels;
  tokens: number;
  logits: Rows;
  nodes: readonly GraphNode[];
  shapes: ReadonlyMap<string, Shape>;
  demand: ReadonlyMap<string, Rows>;
  offsets: ReadonlyMap<string, number>;
  arenaBytes: number;
}

const elementBytes = 4;
const scratchOf = (node: GraphNode) => `${node.outputs[0]}.scratch`;
const rowsOf = (demand: Rows | undefined, tokens: number) => (demand === "all" ? tokens : demand === "last" ? 1 : 0);
const sized = (shape: Shape, rows: number) => shape.map((dim) => (dim === "T" ? rows : dim));
const product = (sizes: readonly number[]) => sizes.reduce((total, size) => total * size, 1);

/** What has to run for `tokens` tokens, and an arena in which it fits. Checks the graph as far as kernels rely on it. */
export function schedule(graph: Graph, kernels: Kernels, tokens: number, logits: Rows): Schedule {
  const demand = demandedRows(graph, logits);
  const nodes = graph.nodes.filter((node) => node.outputs.some((name) => rowsOf(demand.get(name), tokens) > 0));
  const shapes = inferShapes(graph, nodes);
  const ends = graph.nodes.length;
  const states = stateValues(nodes);

  const lastUse = new Map<string, number>(graph.outputs.map(({ name }) => [name, ends]));
  nodes.forEach((node, step) =>
    node.inputs.forEach((name) => lastUse.set(name, Math.max(step, lastUse.get(name) ?? 0))),
  );

  const lifetimes = new Map<string, Lifetime>();
  const shared = new Map<string, string>();
  const live = (name: string, bytes: number, from: number) =>
    lifetimes.set(name, { name, bytes, from, to: lastUse.get(name) ?? from });
  for (const { name } of graph.inputs) {
    if (!states.has(name)) live(name, tokens * elementBytes, -1);
  }
  nodes.forEach((node, step) => {
    const signature = signatureOf(node.operator);
    node.outputs.forEach((name, i) => {
      if (states.has(name)) return;
      const rows = rowsOf(demand.get(name), tokens);
      if (rows === 0) return;
      const bytes = product(sized(shapes.get(name) ?? [], rows)) * elementBytes;
      const victim =
        i === 0 && signature.inPlace ? node.inputs[signature.inputs.indexOf(signature.inPlace)] : undefined;
      const owner = victim === undefined ? undefined : lifetimes.get(shared.get(victim) ?? victim);
      if (victim !== undefined && owner?.to === step && owner.bytes === bytes && owner.from >= 0) {
        shared.set(name, owner.name);
        owner.to = lastUse.get(name) ?? step;
      } else {
        live(name, bytes, step);
      }
    });
    const scratchBytes = kernelRules[node.operator].scratchBytes;
    if (scratchBytes) {
      const at = (operand: string) => ({ ...describe(node, operand, shapes, graph, tokens), address: 0 });
      const bytes = scratchBytes(kernels, { at, attribute: (name) => attribute(node, name) });
      lifetimes.set(scratchOf(node), { name: scratchOf(node), bytes, from: step, to: step });
    }
  });

  const { offsets, totalBytes } = placeLifetimes([...lifetimes.values()]);
  for (const [name, owner] of shared) offsets.set(name, offsets.get(owner) ?? 0);
  return { graph, kernels, tokens, logits, nodes, shapes, demand, offsets, arenaBytes: totalBytes };
}

/** The schedule with every operand at its address in `layout`, states in the slot at `slotPtr`. */
export function buildPlan(scheduled: Schedule, layout: MemoryLayout, slotPtr: number): Plan {
  const { graph, tokens, logits, nodes, shapes, demand, offsets } = scheduled;
  const slotAddress = new Map(layout.slotEntries.map(({ name, slotOffset }) => [name, slotPtr + slotOffset]));
  const slotDtype = new Map(layout.slotEntries.map(({ name, dtype }) => [name, dtype]));
  const stateOf = stateValues(nodes);
  const arenaAddress = (name: string) => {
    const offset = offsets.get(name);
    return offset === undefined ? 0 : layout.arenaPtr + offset;
  };

  const steps = nodes.map((node): PlanStep => {
    const signature = signatureOf(node.operator);
    const nodeRows = rowsOf(demand.get(node.outputs[0] ?? ""), tokens);
    const at = (name: string): Operand => {
      const operand = describe(node, name, shapes, graph, signature.rowWise ? nodeRows : tokens);
      const state = stateOf.get(operand.name);
      const weight = layout.weights.get(operand.name);
      if (state !== undefined) {
        return { ...operand, address: slotAddress.get(state) ?? 0, dtype: slotDtype.get(state) ?? operand.dtype };
      }
      if (weight !== undefined) return { ...operand, address: weight.address, dtype: weight.dtype };
      if (operand.name === "") return { ...operand, address: 0 };
      // A call on the last row alone reads the last row of inputs that others need whole.
      const isInput = node.inputs.includes(operand.name);
      const storedRows = graph.inputs.some((input) => input.name === operand.name)
        ? tokens
        : rowsOf(demand.get(operand.name), tokens);
      const skippedRows = isInput && signature.rowWise ? storedRows - nodeRows : 0;
      const rowBytes = product(operand.shape.slice(1)) * elementBytes;
      return { ...operand, address: arenaAddress(operand.name) + skippedRows * rowBytes };
    };
    const call: BoundCall = {
      at,
      attribute: (name) => attribute(node, name),
      ringLength: layout.ringLength,
      scratchPtr: arenaAddress(scratchOf(node)),
    };
    const operands = [...signature.inputs, ...signature.outputs].map(at).filter(({ name }) => name !== "");
    return { node: node.name, operands, ...kernelRules[node.operator].bind(call) };
  });
  return {
    tokens,
    logits,
    steps,
    tokensPtr: arenaAddress("tokens"),
    posPtr: arenaAddress("pos"),
    logitsPtr: logits === "none" ? 0 : arenaAddress("logits"),
  };
}

/** Shapes of every value, T symbolic. */
function inferShapes(graph: Graph, nodes: readonly GraphNode[]): Map<string, Shape> {
  const shapes = new Map<string, Shape>([...graph.initializers].map(([name, { shape }]) => [name, shape]));
  for (const { name, shape } of graph.inputs) shapes.set(name, shape);
  for (const node of nodes) {
    const signature = signatureOf(node.operator);
    const inputs = signature.inputs.map((_, i) => shapes.get(node.inputs[i] ?? ""));
    outputShapes(signature, inputs, `Node "${node.name}"`).forEach((shape, i) =>
      shapes.set(node.outputs[i] ?? "", shape),
    );
  }
  return shapes;
}

/** Every value that lies in a slot → the state input it is. */
function stateValues(nodes: readonly GraphNode[]): Map<string, string> {
  const states = new Map<string, string>();
  for (const node of nodes) {
    const signature = signatureOf(node.operator);
    for (const [output, input] of Object.entries(signature.state ?? {})) {
      const before = node.inputs[signature.inputs.indexOf(input)] ?? "";
      states.set(before, before);
      states.set(node.outputs[signature.outputs.indexOf(output)] ?? "", before);
    }
  }
  return states;
}

function describe(
  node: GraphNode,
  operand: string,
  shapes: ReadonlyMap<string, Shape>,
  graph: Graph,
  rows: number,
): Omit<Operand, "address"> {
  const signature = signatureOf(node.operator);
  const input = signature.inputs.indexOf(operand);
  const name = (input >= 0 ? node.inputs[input] : node.outputs[signature.outputs.indexOf(operand)]) ?? "";
  const declared = graph.inputs.find((value) => value.name === name);
  return { name, shape: sized(shapes.get(name) ?? [], rows), dtype: declared?.dtype ?? "f32" };
}

function attribute(node: GraphNode, name: string): number {
  const value = node.attributes[name];
  if (value === undefined)
    throw new GriffinError("invalid_graph", `Node "${node.name}": attribute "${name}" is missing.`);
  return value;
}
