// The whole model as ONNX Runtime computes it from the function bodies, against the goldens and the float64 reference.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { OnnxRunner } from "../../src/cli/onnx.ts";
import { forward, referenceModel } from "../reference/forward.ts";
import { goldenNames, likeliestTokens, readGolden } from "../reference/golden.ts";
import { randomModel, randomModelNames } from "../reference/random-model.ts";
import { checkpointBytes, maxError, openSession, runInChunks } from "./onnx-runtime.ts";

const splits = [
  ["whole", [1000]],
  ["in chunks", [1, 5, 23, 2]],
  ["token by token", [1]],
] as const;

describe.each([...goldenNames, "pocket"] as const)("golden %s in ONNX Runtime", (name) => {
  const golden = readGolden(name);
  describe.each(["f32", "bf16"] as const)("as %s", (format) => {
    let runner: OnnxRunner;
    beforeAll(async () => {
      runner = await openSession(checkpointBytes(golden.config, golden.tensors, format));
    });
    afterAll(() => runner.close());

    it.each(splits)("gives the reference's logits at every position, read %s", async (_, sizes) => {
      const { logits } = await runInChunks(runner, golden.tokens, sizes);
      expect(maxError(logits, golden.logits)).toBeLessThan(1e-4);
    });

    it("takes the reference's likeliest token after every token", async () => {
      const { logits } = await runInChunks(runner, golden.tokens, [1, 5, 23, 2]);
      const { vocabSize } = golden.config;
      expect(likeliestTokens(logits, vocabSize)).toEqual(likeliestTokens(golden.logits, vocabSize));
    });

    if (name === "pocket") return; // its golden has logits only
    it("generates the reference's greedy tokens", async () => {
      const { prompt, tokens } = golden.greedy!;
      const generated: number[] = [];
      let [position, state, next] = [0, runner.emptyState, prompt];
      while (generated.length < tokens.length) {
        const pass = await runner.run(next, position, state);
        position += next.length;
        state = pass.state;
        next = Int32Array.from(likeliestTokens(pass.logits, golden.config.vocabSize).slice(-1));
        generated.push(...next);
      }
      expect(generated).toEqual([...tokens]);
    });

    it.each(splits)("has the reference's state wherever it was recorded, read %s", async (_, sizes) => {
      for (const [position, states] of golden.states) {
        const { state } = await runInChunks(runner, golden.tokens.subarray(0, position), sizes);
        expect([...state.keys()].toSorted()).toEqual([...states.keys()].toSorted());
        for (const [entry, expected] of states) {
          expect(maxError(state.get(entry)!, expected), `${entry} after ${position} tokens`).toBeLessThan(1e-4);
        }
      }
    });
  });
});

describe.each(randomModelNames)("random model %s in ONNX Runtime", (name) => {
  const { config, tensors, tokens } = randomModel(name);
  // bf16: f32 arithmetic may round a key the other way than float64 does, 1/256 of it.
  it.each([
    ["f32", 2e-5, 5e-6],
    ["bf16", 5e-3, 2e-2],
  ] as const)("agrees with the float64 reference, keys and values in %s", async (kv, logitsBound, stateBound) => {
    const expected = forward(referenceModel(config, tensors, kv), tokens);
    const runner = await openSession(checkpointBytes(config, tensors, "bf16", kv));
    for (const [how, sizes] of splits) {
      const { logits, state } = await runInChunks(runner, tokens, sizes);
      expect(maxError(logits, expected.logits), `logits, ${how}`).toBeLessThan(logitsBound);
      for (const [entry, values] of expected.state.entries) {
        expect(maxError(state.get(entry)!, values), `${entry}, ${how}`).toBeLessThan(stateBound);
      }
    }
    await runner.close();
  });
});
