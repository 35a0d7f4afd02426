// Where turns run: every case there is.
import { describe, expect, it } from "vitest";
import { placement, together, type Placement, type PlacementFacts, type RanAt } from "../../src/engine/placement.ts";
import { faultOf } from "./origin/models.ts";

const long = { newTokens: 101, prefillTokens: 100 };
const short = { newTokens: 100, prefillTokens: 100 };
const batch = { isForOrigin: true };
const format = { hasFormat: true };
const facts = { isForOrigin: false, hasFormat: false };
const here = { ...facts, isHere: true, origin: "there" } as const;
const elsewhere = { ...facts, isHere: false, origin: "there" } as const;
const none = { origin: "none" } as const;
const away = { origin: "away" } as const;

describe("placement", () => {
  it.each<[string, PlacementFacts, Placement]>([
    ["a short prompt", { ...here, ...short }, "edge"],
    ["a long prompt", { ...here, ...long }, "origin_prefill"],
    ["a long prompt, its origin away", { ...here, ...long, ...away }, "edge"],
    ["a long prompt without an origin", { ...here, ...long, ...none }, "edge"],
    ["a short prompt with a format", { ...here, ...short, ...format }, "edge"],
    ["a long prompt with a format", { ...here, ...long, ...format }, "origin_prefill"],
    ["a line of a batch", { ...here, ...short, ...batch }, "origin"],
    ["a long line of a batch", { ...here, ...long, ...batch }, "origin"],
    ["a line of a batch, its origin away", { ...here, ...long, ...batch, ...away }, "edge"],
    ["a line of a batch without an origin", { ...here, ...short, ...batch, ...none }, "edge"],
    ["a line of a batch with a format", { ...here, ...short, ...batch, ...format }, "edge"],
    ["a long line of a batch with a format", { ...here, ...long, ...batch, ...format }, "origin_prefill"],
    ["a prompt to a model that is not here", { ...elsewhere, ...short }, "origin"],
    ["a long prompt to a model that is not here", { ...elsewhere, ...long }, "origin"],
    ["a prompt to a model that is not here, its origin away", { ...elsewhere, ...short, ...away }, "origin"],
    ["a line of a batch for a model that is not here", { ...elsewhere, ...short, ...batch }, "origin"],
  ])("of %s", (_, given, expected) => {
    expect(placement(given)).toBe(expected);
  });

  it.each<[string, PlacementFacts, string]>([
    ["a model that is nowhere", { ...elsewhere, ...short, ...none }, "model_too_large"],
    ["a format for a model that is not here", { ...elsewhere, ...long, ...format }, "unsupported"],
    [
      "a format for a model that is not here, its origin away",
      { ...elsewhere, ...short, ...format, ...away },
      "unsupported",
    ],
  ])("of %s is nowhere", async (_, given, code) => {
    expect((await faultOf(() => placement(given))).code).toBe(code);
  });
});

it.each<[RanAt[], RanAt | null]>([
  [[], null],
  [["origin", "origin"], "origin"],
  [["edge", "origin_prefill", "edge"], "origin_prefill"],
  [["origin", "edge", "edge"], "origin_then_edge"],
  [["origin", "origin_then_edge", "edge"], "origin_then_edge"],
  [["origin", "origin_prefill"], "origin_then_edge"],
  [["edge", "origin"], "both"],
  [["origin", "edge", "origin"], "both"],
  [["origin_prefill", "origin_then_edge"], "both"],
  [["both", "edge"], "both"],
])("work that ran at %j ran at %s", (parts, expected) => {
  expect(together(parts)).toBe(expected);
});
