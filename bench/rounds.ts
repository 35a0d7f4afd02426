// How everything here is measured: all contenders of a comparison in one process, one short sample of each a round, so
// that whatever slows the machine down meets them alike. Every round begins with another one of them.
import { setTimeout as sleep } from "node:timers/promises";
import type { Figure } from "./figure.ts";

/** One side of a comparison. */
export interface Contender {
  name: string;
  unit: string;
  /** Takes one sample, ready to be taken again. */
  measure(): number | Promise<number>;
}

/** Rounds of a comparison unless it says otherwise. */
const usualRounds = 9;
/** The first samples pay for compilers that optimise while they run, and for memory touched for the first time. */
const warmUpMs = 500;
/** Threads of a contender that wait for more work, spinning, have stopped after this. */
const restMs = 5;

/** A figure of each contender, in their order, with one value a round. BENCH_ROUNDS overrules, to try something out. */
export async function interleave(contenders: readonly Contender[], rounds = usualRounds): Promise<Figure[]> {
  const figures = contenders.map(({ name, unit }) => ({ name, unit, values: new Array<number>() }));
  for (const { measure } of contenders) {
    for (const startMs = performance.now(); performance.now() - startMs < warmUpMs;) await measure();
  }
  const planned = Number(process.env["BENCH_ROUNDS"] ?? rounds);
  for (let round = 0; round < planned; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const at = (turn + round) % contenders.length;
      await sleep(restMs);
      figures[at]?.values.push((await contenders[at]?.measure()) ?? NaN);
    }
  }
  return figures;
}

/** Seconds of one call, from as many calls as take `leastMs`. */
export function secondsOf(call: () => void, leastMs = 40): number {
  const startMs = performance.now();
  let calls = 0;
  for (let batch = 1; ; batch = Math.min(batch * 2, 4096)) {
    for (let i = 0; i < batch; i++) call();
    calls += batch;
    const elapsedMs = performance.now() - startMs;
    if (elapsedMs >= leastMs) return elapsedMs / 1000 / calls;
  }
}
