import { beforeAll, describe, expect, it } from "vitest";
import type { EdgeEngine } from "../../src/engine/edge.ts";
import { goldenNames, likeliestTokens, readGolden } from "../reference/golden.ts";
import { checkpointOf, engineOf, entriesOf, exactFormats, maxDifference, reply, score } from "./models.ts";

const tolerance = 1e-4;

describe.each(goldenNames.flatMap((name) => exactFormats.map((format) => [name, format] as const)))(
  "golden %s in %s",
  (name, format) => {
    const golden = readGolden(name);
    let engine: EdgeEngine;
    beforeAll(async () => {
      engine = await engineOf(await checkpointOf(golden.folder, format));
    });

    it("has the reference's logits at every position", async () => {
      const { logits } = await score(engine, golden.tokens);
      expect(maxDifference(logits, golden.logits)).toBeLessThan(tolerance);
    });

    it("has the reference's states at the recorded positions", async () => {
      expect(golden.states.size).toBeGreaterThan(5);
      for (const [position, expected] of golden.states) {
        const { state } = await score(engine, golden.tokens.subarray(0, position));
        const entries = entriesOf(engine, state);
        expect([...entries.keys()].sort()).toEqual([...expected.keys()].sort());
        for (const [entry, values] of expected) {
          expect(maxDifference(entries.get(entry)!, values), `${entry} after ${position}`).toBeLessThan(tolerance);
        }
      }
    });

    it("generates the reference's greedy tokens", async () => {
      const { prompt, tokens } = golden.greedy!;
      const { tokens: generated } = await reply(engine, {
        tokens: [...prompt],
        maxTokens: tokens.length,
        stopTokens: [],
        sampling: { temperature: 0 },
      });
      expect(generated).toEqual([...tokens]);
    });
  },
);

describe.each(exactFormats)("pocket in %s", (format) => {
  const golden = readGolden("pocket");

  it("has the reference's logits at every position of a dialogue", async () => {
    const engine = await engineOf(await checkpointOf(golden.folder, format));
    const { logits } = await score(engine, golden.tokens);
    expect(maxDifference(logits, golden.logits)).toBeLessThan(tolerance);
  });

  it("takes the reference's likeliest token after every token of the dialogue", async () => {
    const engine = await engineOf(await checkpointOf(golden.folder, format));
    const { logits } = await score(engine, golden.tokens);
    const { vocabSize } = engine.config;
    expect(likeliestTokens(logits, vocabSize)).toEqual(likeliestTokens(golden.logits, vocabSize));
  });

  it("spells the golden's dialogue, and reads it back to the same tokens", async () => {
    const { tokenizer, chat } = await engineOf(await checkpointOf(golden.folder, format));
    const text = tokenizer!.decode(golden.tokens);
    expect(text.slice(0, 70)).toBe("user\nI have a duck called Mango.\nmodel\nSay hello to Mango for me!\nuser");
    expect(text).toMatch(/\nDo you remember the name of my duck\?\nmodel\nYou have a duck called Mango\.\n/);
    const turns: number[] = [];
    for (const [i, token] of golden.tokens.entries()) if (token === chat!.startOfTurnTokenId) turns.push(i);
    const body = [...golden.tokens.subarray(turns[0]! + 1, turns[1])].filter(
      (token) => token !== chat!.endOfTurnTokenId,
    );
    expect(tokenizer!.encodeText(tokenizer!.decode(body))).toEqual(body);
  });
});
