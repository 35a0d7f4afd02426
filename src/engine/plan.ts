// Plan: a schedule with every tensor at a fixed address, for one number of tokens. It is data: `execute` runs it in any
// slot, `griffin plan` prints it.
import { GriffinError } from "../errors.ts";
import type { Rows } from "./demand.ts";
import { stepSignatures, type StepNode } from "./fuse.ts";
import { attributeOf, kernelRules, type BoundCall, type KernelCall, type Operand } from "./kernels.ts";
import type { MemoryLayout } from "./memory.ts";
import { bytesOf, rowCount, scratchOf, sized, type Schedule } from "./schedule.ts";

export interface PlanStep extends KernelCall {
  /** Name of the graph's node, of several fused ones the last. */
  node: string;
  operands: readonly Operand[];
  /** The call dealt out for a team; nothing where one thread computes it alone. */
  shares: readonly (readonly number[])[];
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

/** The plan for a pass of `tokens` tokens, at most as many as were scheduled for. */
export function buildPlan(scheduled: Schedule, tokens: number, layout: MemoryLayout): Plan {
  const { logits, nodes, mostTokens, arenaBytes, shares: mostShares } = scheduled;
  if (tokens > mostTokens || arenaBytes > layout.arenaBytes) {
    throw new GriffinError("internal", `A pass of ${tokens} tokens does not fit the arena laid out for ${mostTokens}.`);
  }
  const steps = nodes.map((node): PlanStep => {
    const { inputs, outputs } = stepSignatures[node.operator];
    const at = (operand: string) => placeOperand(scheduled, tokens, layout, node, operand);
    const scratch = scheduled.offsets.get(scratchOf(node));
    const rule = kernelRules[node.operator];
    const bound: BoundCall = {
      at,
      dim: (operand, axis) => at(operand).shape[axis] ?? 0,
      attribute: (name) => attributeOf(node, name),
      ringLength: layout.ringLength,
      scratchPtr: scratch === undefined ? 0 : layout.arenaPtr + scratch,
    };
    const call = rule.bind(bound);
    const operands = [...inputs, ...outputs].map(at).filter(({ name }) => name !== "");
    const shareBytes = scheduled.scratchBytes.get(scratchOf(node)) ?? 0;
    const shares = mostShares > 1 ? (rule.share?.(bound, call.args, mostShares, shareBytes) ?? []) : [];
    return { node: node.name, operands, ...call, shares };
  });
  const arena = (name: string) => arenaAddress(scheduled, layout, name);
  const logitsPtr = logits === "none" ? 0 : arena("logits");
  return { tokens, logits, steps, tokensPtr: arena("tokens"), posPtr: arena("pos"), logitsPtr };
}

function placeOperand(
  scheduled: Schedule,
  tokens: number,
  layout: MemoryLayout,
  node: StepNode,
  operand: string,
): Operand {
  const { graph, shapes, demand, states } = scheduled;
  const { inputs, outputs, rowWise } = stepSignatures[node.operator];
  const input = inputs.indexOf(operand);
  const name = (input >= 0 ? node.inputs[input] : node.outputs[outputs.indexOf(operand)]) ?? "";
  const rows = rowWise ? rowCount(demand.get(node.outputs[0] ?? ""), tokens) : tokens;
  const shape = sized(shapes.get(name) ?? [], rows);
  if (name === "") return { name, shape, dtype: "f32", address: 0, inSlot: false };

  const state = states.get(name);
  if (state !== undefined) {
    const entry = layout.slotEntries.find((each) => each.name === state);
    if (entry === undefined)
      throw new GriffinError("invalid_graph", `The graph's state "${state}" is not in the layout.`);
    return { name, shape, dtype: entry.dtype, address: entry.slotOffset, inSlot: true };
  }
  const weight = layout.weights.get(name);
  if (weight !== undefined) {
    const { dtype, address, packing } = weight;
    const panel = packing && { rows: packing.panelRows, bytes: packing.panelBytes };
    return { name, shape, dtype, address, inSlot: false, ...(panel && { panel }) };
  }

  const declared = graph.inputs.find((value) => value.name === name);
  // A call on the last row alone reads the last row of inputs that others need whole.
  const storedRows = declared === undefined ? rowCount(demand.get(name), tokens) : tokens;
  const skippedRows = rowWise && input >= 0 ? storedRows - rows : 0;
  const address = arenaAddress(scheduled, layout, name) + skippedRows * bytesOf(shape.slice(1));
  return { name, shape, dtype: declared?.dtype ?? "f32", address, inSlot: false };
}

function arenaAddress({ offsets }: Schedule, layout: MemoryLayout, name: string): number {
  const offset = offsets.get(name);
  if (offset === undefined) throw new GriffinError("invalid_graph", `The value "${name}" has no place in memory.`);
  return layout.arenaPtr + offset;
}
