// Schedule: what a graph has to run for some rows of logits, and an arena in which that fits. Made once for the most
// tokens a pass may read; a pass of fewer uses the same places, so no pass can need more than was laid out.
import { outputShapes, type Shape } from "../model/functions.ts";
import type { Graph } from "../model/graph.ts";
import { aligned, placeLifetimes, type Lifetime } from "./arena.ts";
import { demandedRows, type Rows } from "./demand.ts";
import { fuse, stepSignatures, type StepNode } from "./fuse.ts";
import { attributeOf, kernelRules, type Kernels } from "./kernels.ts";

export interface Schedule {
  graph: Graph;
  logits: Rows;
  mostTokens: number;
  /** The calls to make, in order: those of the graph that somebody needs, some fused. */
  nodes: readonly StepNode[];
  /** Of every value, T symbolic. */
  shapes: ReadonlyMap<string, Shape>;
  demand: ReadonlyMap<string, Rows>;
  /** Every value that lies in a slot → the state input it is. */
  states: ReadonlyMap<string, string>;
  /** Value or scratch → where in the arena. */
  offsets: ReadonlyMap<string, number>;
  arenaBytes: number;
  /** Into how many shares a call may be dealt out; 1 where there is no team. */
  shares: number;
  /** Scratch → bytes of it that one share needs. */
  scratchBytes: ReadonlyMap<string, number>;
}

const elementBytes = 4;

/** The name under which a node's scratch lies in the arena. */
export const scratchOf = (node: StepNode) => `${node.outputs[0]}.scratch`;

/** How many rows that is in a pass of `tokens` tokens. */
export const rowCount = (rows: Rows | undefined, tokens: number) => (rows === "all" ? tokens : rows === "last" ? 1 : 0);

/** A shape in a pass in which T is `rows`. */
export const sized = (shape: Shape, rows: number) => shape.map((dim) => (dim === "T" ? rows : dim));

/** Bytes of a tensor of f32 or i32. */
export const bytesOf = (shape: readonly number[]) => shape.reduce((total, size) => total * size, elementBytes);

/** The schedule for passes of up to `mostTokens` tokens. Checks the graph's shapes, as far as kernels rely on them. */
export function schedule(
  graph: Graph,
  kernels: Kernels,
  mostTokens: number,
  logits: Rows,
  /** Into how many shares a call may be dealt out. */
  shares = 1,
): Schedule {
  const demand = demandedRows(graph, logits);
  const needed = graph.nodes.filter((node) => node.outputs.some((name) => rowCount(demand.get(name), 1) > 0));
  const results = graph.outputs.map(({ name }) => name);
  const nodes = fuse(needed, results);
  const shapes = inferShapes(graph, nodes);
  const states = stateValues(nodes);
  const sizeOf = (name: string) => bytesOf(sized(shapes.get(name) ?? [], rowCount(demand.get(name), mostTokens)));

  const end = nodes.length;
  const lastUse = new Map<string, number>(results.map((name) => [name, end]));
  nodes.forEach((node, step) => {
    for (const name of node.inputs) lastUse.set(name, Math.max(step, lastUse.get(name) ?? 0));
  });

  const lifetimes = new Map<string, Lifetime>();
  const scratchBytes = new Map<string, number>();
  /** A value written over another → whose bytes these were first. */
  const owners = new Map<string, string>();
  for (const { name } of graph.inputs) {
    if (states.has(name)) continue;
    lifetimes.set(name, { name, bytes: mostTokens * elementBytes, from: -1, to: lastUse.get(name) ?? -1 });
  }
  nodes.forEach((node, step) => {
    const { inputs, inPlace } = stepSignatures[node.operator];
    const victim = inPlace === undefined ? undefined : node.inputs[inputs.indexOf(inPlace)];
    for (const [i, name] of node.outputs.entries()) {
      if (states.has(name) || rowCount(demand.get(name), 1) === 0) continue;
      const to = lastUse.get(name) ?? step;
      const owner = victim === undefined ? undefined : lifetimes.get(owners.get(victim) ?? victim);
      if (i === 0 && owner?.to === step && owner.from >= 0 && owner.bytes === sizeOf(name)) {
        owners.set(name, owner.name);
        owner.to = to;
      } else {
        lifetimes.set(name, { name, bytes: sizeOf(name), from: step, to });
      }
    }
    const bytes = kernelRules[node.operator].scratchBytes?.(kernels, {
      dim: (operand, axis) =>
        sized(shapes.get(node.inputs[inputs.indexOf(operand)] ?? "") ?? [], mostTokens)[axis] ?? 0,
      attribute: (name) => attributeOf(node, name),
    });
    if (bytes !== undefined) {
      scratchBytes.set(scratchOf(node), aligned(bytes));
      const all = kernelRules[node.operator].share === undefined ? bytes : aligned(bytes) * shares;
      lifetimes.set(scratchOf(node), { name: scratchOf(node), bytes: all, from: step, to: step });
    }
  });

  const { offsets, totalBytes } = placeLifetimes([...lifetimes.values()]);
  for (const [name, owner] of owners) offsets.set(name, offsets.get(owner) ?? 0);
  return {
    graph,
    logits,
    mostTokens,
    nodes,
    shapes,
    demand,
    states,
    offsets,
    shares,
    scratchBytes,
    arenaBytes: totalBytes,
  };
}

function inferShapes(graph: Graph, nodes: readonly StepNode[]): Map<string, Shape> {
  const shapes = new Map<string, Shape>([...graph.initializers].map(([name, { shape }]) => [name, shape]));
  for (const { name, shape } of graph.inputs) shapes.set(name, shape);
  for (const node of nodes) {
    const signature = stepSignatures[node.operator];
    const inputs = signature.inputs.map((_, i) => shapes.get(node.inputs[i] ?? ""));
    const outputs = outputShapes(signature, inputs, `Node "${node.name}"`);
    outputs.forEach((shape, i) => shapes.set(node.outputs[i] ?? "", shape));
  }
  return shapes;
}

function stateValues(nodes: readonly StepNode[]): Map<string, string> {
  const states = new Map<string, string>();
  for (const node of nodes) {
    const signature = stepSignatures[node.operator];
    for (const [output, input] of Object.entries(signature.state ?? {})) {
      const before = node.inputs[signature.inputs.indexOf(input)] ?? "";
      states.set(before, before);
      states.set(node.outputs[signature.outputs.indexOf(output)] ?? "", before);
    }
  }
  return states;
}
