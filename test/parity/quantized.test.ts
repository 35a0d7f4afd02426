// int8 and int4: our kernels against ONNX Runtime, which runs the functions' bodies on the same files. Both round the
// activations of every linear; where a last bit of difference turns a rounding over, they are one step of 127 apart.
import { describe, expect, it } from "vitest";
import { createOnnxSession } from "../../src/cli/onnx.ts";
import { goldenNames, likeliestTokens, readGolden } from "../reference/golden.ts";
import { randomModel, randomModelNames, type RandomModelName } from "../reference/random-model.ts";
import { checkpointFolder, engineOf, score } from "./models.ts";
import { runInChunks } from "./onnx-runtime.ts";

const names = [...goldenNames, "pocket", ...randomModelNames] as const;

const isRandom = (name: string): name is RandomModelName => randomModelNames.some((known) => known === name);
/** Their rows have odd lengths, and int4 is stored two a byte. */
const oddRows: readonly string[] = ["odd_sizes", "silu_uncapped_unscaled"];

/** Root mean square of the differences, over that of what is expected. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) return Infinity;
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** By how much the first of some logits is ahead of the second. */
function margin(logits: Float32Array): number {
  const [first = 0, second = 0] = logits.toSorted().subarray(-2).toReversed();
  return first - second;
}

describe.each(["int8", "int4"] as const)("%s", (format) => {
  const those = names.filter((name) => format === "int8" || !oddRows.includes(name));
  it.each(those)("gives the logits of %s that ONNX Runtime gives", async (name) => {
    const { tokens, config } = isRandom(name) ? randomModel(name) : readGolden(name);
    const folder = await checkpointFolder(name, format);
    const runner = await createOnnxSession(folder.get("graph.onnx")!, folder.get("weights.safetensors")!);
    const expected = (await runInChunks(runner, Int32Array.from(tokens), [64])).logits;
    await runner.close();
    const { logits } = await score(await engineOf(folder), tokens);
    const error = relativeError(logits, expected);
    expect(error).toBeLessThan(0.01);
    if (name !== "pocket") return;
    const [ours, theirs] = [logits, expected].map((each) => likeliestTokens(each, config.vocabSize));
    const isClear = (i: number) => margin(expected.subarray(i * config.vocabSize, (i + 1) * config.vocabSize)) > 0.02;
    const others = Array.from(tokens.keys()).filter((i) => ours![i] !== theirs![i]);
    // Another token is the likeliest only where two are as good as equally likely, and that is rare.
    expect(others.filter(isClear)).toEqual([]);
    expect(others.length).toBeLessThan(0.02 * tokens.length);
  });
});

it.each(oddRows)("int4 refuses the odd rows of %s by name", async (name) => {
  await expect(checkpointFolder(name as RandomModelName, "int4")).rejects.toMatchObject({
    code: "unsupported",
    message: expect.stringMatching(/weight" has rows of \d+ values/),
  });
});
