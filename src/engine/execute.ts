// The one loop that runs a model.
import type { Kernels } from "./kernels.ts";
import type { Plan } from "./plan.ts";
import type { Team } from "./team.ts";

/** Runs every step of a plan, in order, on the state in a slot. Tokens and positions lie where the plan says. */
export function execute(kernels: Kernels, plan: Plan, slotPtr: number, team?: Team): void {
  for (const { kernel, args, slotArgs, shares } of plan.steps) {
    if (team !== undefined && shares.length > 0) team.run(kernel, shares);
    else kernels[kernel](...(slotArgs.length === 0 ? args : inSlot(args, slotArgs, slotPtr)));
  }
}

function inSlot(args: readonly number[], slotArgs: readonly number[], slotPtr: number): number[] {
  const placed = [...args];
  for (const i of slotArgs) placed[i] = (args[i] ?? 0) + slotPtr;
  return placed;
}
