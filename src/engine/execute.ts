// The one loop that runs a model.
import type { Kernels } from "./kernels.ts";
import type { Plan } from "./plan.ts";

/** Runs every step of a plan, in order. The caller has written tokens and positions to the plan's addresses. */
export function execute(kernels: Kernels, plan: Plan): void {
  for (const { kernel, args } of plan.steps) kernels[kernel](...args);
}
