// What quantisation may cost, on a few of the dialogues that the benchmark measures all of. The kernels give the same
// bits everywhere, so the bounds are tight.
import { expect, it } from "vitest";
import { heldOut, measureQuality, qualityTable } from "../../bench/quality.ts";

it("pocket says nearly the same in every format", async () => {
  const dialogues = (await heldOut()).filter((_, i) => i % 40 === 0);
  const rows = await measureQuality(dialogues);
  const of = new Map(rows.map((row) => [row.format, row]));
  const [f32, bf16, int8, int4] = [of.get("f32")!, of.get("bf16")!, of.get("int8")!, of.get("int4")!];
  // Its source is bf16, so that format holds it exactly.
  expect({ ...bf16, format: "f32", bytes: f32.bytes }).toEqual(f32);
  expect(f32.perplexity).toBeLessThan(1.4);
  expect(Math.abs(int8.perplexity / f32.perplexity - 1)).toBeLessThan(0.002);
  expect(Math.abs(int4.perplexity / f32.perplexity - 1)).toBeLessThan(0.01);
  expect(int8.divergence).toBeLessThan(1e-4);
  expect(int4.divergence).toBeLessThan(2e-3);
  expect(int8.divergence).toBeLessThan(int4.divergence);
  expect(int8.sameToken).toBeGreaterThan(0.97);
  expect(int4.sameToken).toBeGreaterThan(0.93);
  expect(qualityTable(rows).split("\n")).toHaveLength(6);
});
