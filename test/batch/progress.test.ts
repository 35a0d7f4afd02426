// Which lines are done, and which stretches have some left.
import { expect, it } from "vitest";
import { Progress } from "../../src/batch/progress.ts";

it("counts lines once each, and knows what is left of every stretch", () => {
  const place = { offset: 0, length: 1 };
  const progress = new Progress(7, [
    { firstLine: 0, lineCount: 2, ...place },
    { firstLine: 2, lineCount: 3, ...place },
    { firstLine: 6, lineCount: 1, ...place },
  ]);
  progress.settle(5, "errors");
  expect([...progress.unfinished(new Set())]).toEqual([0, 1, 2]);
  for (const line of [0, 1, 3]) progress.settle(line, "output");
  expect([...progress.unfinished(new Set())]).toEqual([1, 2]);
  expect([...progress.unfinished(new Set([1]))]).toEqual([2]);
  expect([0, 1, 2, 4, 6].map((line) => progress.stretchOf(line))).toEqual([0, 0, 1, 1, 2]);
  expect([progress.left(0), progress.left(1), progress.left(9)]).toEqual([[], [2, 4], []]);
  progress.settle(6, "errors");
  expect([...progress.unfinished(new Set())]).toEqual([1]);
  expect(progress.isWhole).toBe(false);
  for (const line of [2, 4]) progress.settle(line, "output");
  expect([...progress.unfinished(new Set())]).toEqual([]);
  expect([progress.isWhole, progress.counts]).toEqual([true, { total: 7, completed: 5, failed: 2 }]);
});
