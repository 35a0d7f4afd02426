// griffin plan: the kernel calls of one pass, as the engine would make them. Reads no weights.
import type { Rows } from "../engine/demand.ts";
import { Instance } from "../engine/instance.ts";
import { kernelModule, readCheckpoint } from "./engine.ts";

/** Prints the plan for `tokens` tokens in the first slot: step, kernel, operands with shape and address. */
export async function printPlan(
  folder: string,
  options: { tokens: number; logits: Rows; json?: boolean },
): Promise<void> {
  const { tokens, logits } = options;
  const checkpoint = await readCheckpoint(folder);
  const instance = await Instance.prepare(await kernelModule(), checkpoint, {
    chunkTokens: tokens,
    logitsTokens: logits === "all" ? tokens : 1,
  });
  const { layout } = instance;
  const plan = instance.plan(tokens, logits);
  if (options.json) {
    console.log(JSON.stringify(plan, null, 2));
    return;
  }
  plan.steps.forEach(({ node, kernel, operands }, step) => {
    const places = operands.map(
      ({ name, shape, dtype, address, inSlot }) =>
        `${name} ${dtype}[${shape.join(", ")}] @${inSlot ? "slot+" : ""}${address}`,
    );
    console.log(`${String(step).padStart(4)}  ${kernel.padEnd(20)}  ${node}`);
    for (const place of places) console.log(`${" ".repeat(28)}${place}`);
  });
  const slotPtr = layout.slots[0] ?? 0;
  console.log(
    `\n${plan.steps.length} steps for ${tokens} token${tokens === 1 ? "" : "s"}, logits: ${logits}. Memory: ${layout.totalBytes} bytes = ` +
      `weights up to ${slotPtr}, a slot of ${layout.slotBytes} at ${slotPtr}, an arena of ${layout.arenaBytes} at ${layout.arenaPtr}.`,
  );
}
