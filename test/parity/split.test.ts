// One token, one answer: what a token computes does not depend on how the prompt was split, nor on what else runs.
import { beforeAll, describe, expect, it } from "vitest";
import type { EdgeEngine } from "../../src/engine/edge.ts";
import type { Folder } from "../checkpoint/folders.ts";
import { randomModelNames } from "../reference/random-model.ts";
import { bitsOf, engineOf, reply, score, testModel, testModelNames } from "./models.ts";

describe.each(testModelNames)("%s", (name) => {
  const { tokens, window } = testModel(name);
  let folder: Folder;
  let engine: EdgeEngine;
  let whole: Awaited<ReturnType<typeof score>>;
  beforeAll(async () => {
    folder = await testModel(name).checkpoint();
    engine = await engineOf(folder, { chunkTokens: tokens.length, logitsTokens: tokens.length });
    whole = await score(engine, tokens, tokens.length);
  });

  it("gives the same bits whole, in chunks of 1 to 17, and in an engine with a shorter ring", async () => {
    const short = await engineOf(folder, { chunkTokens: 17, logitsTokens: 17 });
    for (const each of [engine, short]) {
      for (let chunk = 1; chunk <= 17; chunk++) {
        const split = await score(each, tokens, chunk);
        expect(bitsOf(split.logits).equals(bitsOf(whole.logits)), `logits in chunks of ${chunk}`).toBe(true);
        expect(bitsOf(split.state.data).equals(bitsOf(whole.state.data)), `state in chunks of ${chunk}`).toBe(true);
      }
    }
  });

  it("goes on with the same bits after a save and a restore, also where the window is just full", async () => {
    const { vocabSize } = engine.config;
    for (const cut of [1, 2, 3, window - 1, window, window + 1, 2 * window + 1]) {
      if (cut < 1 || cut >= tokens.length) continue;
      const other = await engineOf(folder, { chunkTokens: 5, logitsTokens: 5 });
      const { state } = await score(engine, tokens.slice(0, cut));
      const rest = await score(other, tokens.slice(cut), 5, structuredClone(state));
      expect(bitsOf(rest.logits).equals(bitsOf(whole.logits.subarray(cut * vocabSize))), `cut at ${cut}`).toBe(true);
      expect(bitsOf(rest.state.data).equals(bitsOf(whole.state.data)), `cut at ${cut}`).toBe(true);
    }
  });

  it("does not compute other bits for rows when only the last is asked for, or for a prompt read without logits", async () => {
    const turn = {
      tokens,
      maxTokens: 1,
      topLogProbabilities: 5,
      sampling: { temperature: 0 },
      stopTokens: [],
    };
    const once = await reply(engine, turn);
    const read = await reply(engine, { tokens: tokens.slice(0, -1), maxTokens: 0 });
    const resumed = await reply(engine, { ...turn, tokens: tokens.slice(-1), state: read.result.state });
    expect(resumed.generated).toEqual(once.generated);
    const { vocabSize } = engine.config;
    const last = whole.logits.subarray(-vocabSize);
    expect(once.tokens).toEqual([last.indexOf(Math.max(...last))]);
  });

  it("gives each of several turns at once what it gets alone, and leaves no slot or arena byte behind", async () => {
    const shared = await engineOf(folder, { slots: 3, chunkTokens: 4 });
    const turns = Array.from({ length: 7 }, (_, i) => ({
      tokens: tokens.slice(i, i + 3 + 2 * i),
      maxTokens: 6 + i,
      stopTokens: [],
      sampling: { temperature: 1, seed: BigInt(i) },
    }));
    const alone = [];
    for (const turn of turns) alone.push(await reply(engine, turn));
    const together = await Promise.all(turns.map((turn) => reply(shared, turn)));
    for (const [i, { tokens: generated, result }] of together.entries()) {
      expect(generated).toEqual(alone[i]!.tokens);
      expect(bitsOf(result.state.data).equals(bitsOf(alone[i]!.result.state.data))).toBe(true);
    }
    const { slots, arenaPtr, totalBytes } = shared.instance.layout;
    const after = shared.instance.bytes(Math.min(...slots), totalBytes);
    expect(arenaPtr).toBeGreaterThan(Math.max(...slots));
    expect(after.every((byte) => byte === 0)).toBe(true);
  });
});

it("covers every random model", () => {
  expect(testModelNames).toEqual(expect.arrayContaining(randomModelNames));
});
