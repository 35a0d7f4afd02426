// Options that no golden covers, and positions no golden reaches, against the forward pass in float64.
import { describe, expect, it } from "vitest";
import { emptyState } from "../../src/model/state.ts";
import { emptyReferenceState, forward, referenceModel, type ReferenceState } from "../reference/forward.ts";
import { randomModel, randomModelNames, type RandomModelName } from "../reference/random-model.ts";
import { checkpointFolder, engineOf, entriesOf, exactFormats, maxDifference, score } from "./models.ts";

const tolerance = 1e-4;

describe.each(randomModelNames.flatMap((name) => exactFormats.map((format) => [name, format] as const)))(
  "random model %s in %s",
  (name, format) => {
    it("has the logits and states of the float64 forward pass", async () => {
      const { config, tensors, tokens } = randomModel(name);
      const engine = await engineOf(await checkpointFolder(name, format));
      const got = await score(engine, tokens, 6);
      const want = forward(referenceModel(config, tensors), tokens);
      expect(maxDifference(got.logits, want.logits)).toBeLessThan(tolerance);
      const entries = entriesOf(engine, got.state);
      expect([...entries.keys()].sort()).toEqual([...want.state.entries.keys()].sort());
      for (const [entry, values] of want.state.entries) {
        expect(maxDifference(entries.get(entry)!, values), entry).toBeLessThan(tolerance);
      }
    });
  },
);

it.each([100_000, 1_000_000, 2_000_000_000])("stays exact at position %i", async (position) => {
  const name: RandomModelName = "two_kv_heads";
  const { config, tensors, tokens } = randomModel(name);
  const engine = await engineOf(await checkpointFolder(name, "f32"));
  const from = { ...emptyState(engine.instance.stateLayout), position };
  const before: ReferenceState = { ...emptyReferenceState, position };
  const got = await score(engine, tokens, 5, from);
  const want = forward(referenceModel(config, tensors), tokens, before);
  expect(maxDifference(got.logits, want.logits)).toBeLessThan(tolerance);
});

it("rounds keys and values to bfloat16 where the window is stored so, and only there", async () => {
  const { config, tensors, tokens } = randomModel("two_kv_heads");
  const engine = await engineOf(await checkpointFolder("two_kv_heads", "f32", "bf16"));
  const { logits } = await score(engine, tokens, 6);
  const rounded = forward(referenceModel(config, tensors, "bf16"), tokens).logits;
  const exact = forward(referenceModel(config, tensors, "f32"), tokens).logits;
  // A key that lies between two bfloat16s may fall to either side in f32 and in float64.
  expect(maxDifference(logits, rounded)).toBeLessThan(maxDifference(rounded, exact) / 4);
});
