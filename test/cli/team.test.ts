// Several threads over one memory: the same bits as one, at every split of the work.
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { threads } from "../../src/cli/team.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { instantiateKernels } from "../../src/engine/kernels.ts";
import type { TeamMaker } from "../../src/engine/team.ts";
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
    const options = { logitsTokens: 64, team: threads(members) };
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
    await together.close();
  });
});

describe("a team", () => {
  it("is not made for a model that does not fit, and is let go where its weights do not come", async () => {
    const folder = await checkpointFolder("pocket", "int8");
    let opened = 0;
    let closed = 0;
    const { shares, open } = threads(2);
    const team: TeamMaker = {
      shares,
      async open(...args) {
        opened++;
        const made = await open(...args);
        return { ...made, close: () => (closed++, made.close()) };
      },
    };
    const tooSmall = EdgeEngine.load(module, opener(folder), { team, memoryLimitBytes: 2 ** 20 });
    await expect(tooSmall).rejects.toMatchObject({ code: "model_too_large" });
    expect(opened).toBe(0);
    const weights = Uint8Array.from(folder.get("weights.safetensors")!);
    weights[weights.length - 1]! ^= 1;
    const damaged = new Map(folder).set("weights.safetensors", weights);
    await expect(EdgeEngine.load(module, opener(damaged), { team })).rejects.toMatchObject({ code: "hash_mismatch" });
    expect([opened, closed]).toEqual([1, 1]);
  });
});

describe("a team of more threads than cores", () => {
  it("does every share of every call once, however its threads are held up", async () => {
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 65_535, shared: true });
    const kernels = await instantiateKernels(module, memory);
    const { shares, open } = threads(6);
    const team = await open(module, memory);
    // Share n of every call adds one to a number of its own.
    const [onePtr, sumsPtr] = [kernels.heap_base(), kernels.heap_base() + 16];
    new Float32Array(memory.buffer, onePtr, 1)[0] = 1;
    const sums = new Float32Array(memory.buffer, sumsPtr, shares);
    const expected = new Float32Array(shares);
    for (let call = 0; call < 50_000; call++) {
      const count = [2, shares, 3, 7][call % 4]!;
      team.run(
        "add",
        Array.from({ length: count }, (_, share) => [sumsPtr + 4 * share, sumsPtr + 4 * share, onePtr, 1]),
      );
      for (let share = 0; share < count; share++) expected[share]!++;
    }
    expect(sums.slice()).toEqual(expected);
    await team.close();
  });
});
