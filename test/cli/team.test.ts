// Several threads over one memory: the same bits as one, at every split of the work.
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { threads } from "../../src/cli/team.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { build } from "../../wasm/build.ts";
import { opener } from "../checkpoint/folders.ts";
import { bitsOf, checkpointFolder, engineOf, reply, score } from "../parity/models.ts";
import { readGolden } from "../reference/golden.ts";

const module = await WebAssembly.compile(await readFile(await build("threads")));
const text = "My name is Ada. Tell me a story about a fox.";

describe.each(["f32", "bf16", "int8", "int4"] as const)("a team on pocket in %s", (format) => {
  it.each([2, 3])("of %i threads gives the bits of one", async (members) => {
    const folder = await checkpointFolder("pocket", format);
    const alone = await engineOf(folder);
    const options = { logitsTokens: 64, openTeam: threads(members) };
    const together = await EdgeEngine.load(module, opener(folder, 100_000), options);
    expect(together.instance.plan(64, "all").steps.filter(({ shares }) => shares.length > 1)).not.toEqual([]);
    const tokens = readGolden("pocket").tokens.subarray(0, 150);
    for (const chunk of [1, 7, 64]) {
      const [one, many] = [await score(alone, tokens, chunk), await score(together, tokens, chunk)];
      expect(bitsOf(many.logits).equals(bitsOf(one.logits))).toBe(true);
      expect(bitsOf(many.state.data).equals(bitsOf(one.state.data))).toBe(true);
    }
    const turn = { tokens: together.tokenizer!.encodeText(text), maxTokens: 40, sampling: { seed: 3n } };
    expect((await reply(together, turn)).text).toBe((await reply(alone, turn)).text);
  });
});
