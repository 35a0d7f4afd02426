// What bench/ says of its numbers: quantiles, shares round by round, tables, the text between markers, plots.
import { describe, expect, it } from "vitest";
import { best, grouped, median, quantile, shareOf, type Figure } from "../../bench/figure.ts";
import type { Machine } from "../../bench/machine.ts";
import { plot } from "../../bench/plot.ts";
import { json, markdown, replaceResults } from "../../bench/report.ts";

const machine: Machine = {
  processor: "abacus",
  cores: 2,
  memoryBytes: 1,
  node: "24",
  v8: "13",
  workerd: "workerd 1",
  packages: { peer: "1.2.3" },
  commit: "commit abc",
  date: "2026-01-02",
};
const rate: Figure = { name: "ours", unit: "tokens/s", values: [100, 300, 200, 400] };
const peer: Figure = { name: "peer", unit: "tokens/s", values: [50, 100, 100, 400] };

describe("figures", () => {
  it("have quantiles between the sorted values", () => {
    expect(quantile([4, 1, 3, 2], 0.25)).toBe(1.75);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([7])).toBe(7);
  });

  it("are best where rates are high and costs are low", () => {
    expect(best(rate)).toBe(400);
    expect(best({ ...rate, unit: "ms" })).toBe(100);
  });

  it("are compared round by round, not median by median", () => {
    expect(shareOf(rate, peer).values).toEqual([2, 3, 2, 1]);
    expect(median(shareOf(rate, peer).values)).not.toBe(median(rate.values) / median(peer.values));
    expect(() => shareOf(rate, { ...peer, values: [1] })).toThrow("4 rounds cannot be compared with 1");
  });

  it("show no digits that mean nothing", () => {
    expect([12_345_678, 12.3456, 1234.5, 0.07654].map(grouped)).toEqual(["12 345 678", "12.3", "1 230", "0.0765"]);
  });
});

describe("reports", () => {
  const section = {
    title: "Speed",
    figures: [{ ...rate, shares: [shareOf(rate, peer, "of peer")] }],
    notes: ["A note."],
  };

  it("are tables with the machine below", () => {
    expect(markdown([section], machine, "npm run bench").split("\n")).toEqual([
      "### Speed",
      "",
      "| figure | best | median | middle half | rounds | compared |",
      "|---|---|---|---|---|---|",
      "| ours | 400 | 250 tokens/s | 175 – 325 | 4 | 2 of peer |",
      "",
      "A note.",
      "",
      "2 cores of abacus, Node 24 (V8 13), workerd 1, peer 1.2.3; 2026-01-02, commit abc; `npm run bench`",
    ]);
  });

  it("keep every value as JSON", () => {
    const [parsed] = JSON.parse(json([section], machine)).sections;
    expect(parsed.figures[0]).toMatchObject({ values: rate.values, best: 400, median: 250, shares: [{ median: 2 }] });
  });

  it("replace what stands between the markers, and nothing else", () => {
    const text = "a\n<!-- results -->\nold\n<!-- /results -->\nb\n";
    expect(replaceResults(text, "new")).toBe("a\n<!-- results -->\n\nnew\n\n<!-- /results -->\nb\n");
    expect(replaceResults(replaceResults(text, "x"), "new")).toBe(replaceResults(text, "new"));
    expect(() => replaceResults("no markers", "new")).toThrow("has no <!-- results -->");
  });
});

describe("plots", () => {
  it("put the highest value near the top and tenfold lengths at equal distances", () => {
    const svg = plot({
      title: "T < U",
      x: "tokens",
      y: "ms",
      series: [
        {
          name: "one",
          points: [
            [10, 0],
            [100, 50],
            [1000, 100],
          ],
        },
      ],
    });
    const places = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
    expect(places).toEqual([
      [80, 340],
      [380, 194],
      [680, 48],
    ]);
    expect(svg).toContain("T &lt; U");
  });
});
