import { beforeAll, describe, expect, it } from "vitest";
import type { Format } from "../../../src/engine/constraints/constraint.ts";
import type { EdgeEngine } from "../../../src/engine/edge.ts";
import type { Turn } from "../../../src/engine/engine.ts";
import { logProbability } from "../../../src/engine/log-probabilities.ts";
import { renderPrompt } from "../../../src/model/chat-template.ts";
import { readCall } from "../../../src/model/tool-text.ts";
import { checkpointFolder, engineOf, reply, score } from "../../parity/models.ts";
import { allows, drawReply, drawTokens } from "./walk.ts";

const regex = (pattern: string): Format => ({ type: "regex", pattern });

describe("a pattern", () => {
  it("matches every reply held to it", () => {
    for (const pattern of [
      "[a-z]{3}-\\d{1,4}",
      "(red|green|blue)( and (red|green|blue)){0,2}",
      "^\\w+@\\w+\\.(com|org)$",
      "[^a-z\\s]{1,5}x?",
      "(?:é|[\\u{1F600}-\\u{1F64F}])+",
      ".{0,10}",
      "a*b+?c??",
      "(?<year>\\d{4})-[\\d\\-]{2}",
    ]) {
      for (let seed = 1; seed <= 5; seed++) {
        const text = drawReply(regex(pattern), seed);
        if (text !== null) expect(text).toMatch(new RegExp(`^(?:${pattern})$`, "u"));
      }
    }
    expect(allows(regex("a|bc"), "bc")).toBe(true);
    expect(allows(regex("a|bc"), "abc")).toBe(false);
  });

  it("that is too large, too deep, or not regular is refused", () => {
    expect(() => drawReply(regex("((a{0,999}){0,999}){0,999}b"), 1)).toThrow(/ambiguous/);
    expect(() => drawReply(regex("(".repeat(60) + ")".repeat(60)), 1)).toThrow(/deep/);
    expect(() => drawReply(regex("a".repeat(2001)), 1)).toThrow(/2000/);
    for (const pattern of ["(a)\\1", "\\bword", "(?!a)b", "a^b", "\\p{L}"]) {
      expect(() => drawReply(regex(pattern), 1)).toThrow(expect.objectContaining({ code: "unsupported" }));
    }
    expect(() => drawReply(regex("[z-a]"), 1)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });
});

describe("a choice", () => {
  it("is one of its texts, also where one begins like another", () => {
    const choices = ["yes", "yes, please", "no 🙂"];
    const drawn = Array.from({ length: 60 }, (_, seed) => drawReply({ type: "choice", choices }, seed));
    expect(new Set(drawn)).toEqual(new Set(choices));
  });
});

describe("tools", () => {
  const parameters = JSON.stringify({ type: "object", properties: { city: { type: "string" } }, required: ["city"] });
  const tools = [{ name: "get_weather", parameters }];
  const call = '<tool_call>\n{"name": "get_weather", "arguments": {"city":"Ulm"}}\n</tool_call>';

  it("are called in the one form", () => {
    const format: Format = { type: "tool_call", tools, otherwise: null };
    expect(allows(format, call)).toBe(true);
    expect(allows(format, call.replace("city", "town"))).toBe(false);
    expect(allows(format, "Hello")).toBe(false);
    const text = drawReply(format, 3) ?? "";
    expect(readCall(text)).toMatchObject({ name: "get_weather", isWhole: true });
  });

  it("are called in few tokens, the longest ones of text that must come", async () => {
    const names = ["hello world", "hello wor"];
    const drawn = Array.from({ length: 20 }, (_, seed) => drawTokens({ type: "choice", choices: names }, seed));
    for (const tokens of drawn) expect(tokens?.slice(0, 2)).toEqual(["hello", " wor"]);
    expect(drawn.some((tokens) => tokens?.length === 2)).toBe(true);
  });

  it("leave any text beside them that does not begin like a call", () => {
    const format: Format = { type: "tool_call", tools, otherwise: { type: "text" } };
    for (const text of [call, "", "Hello", "<tool", "<tool_cal>", "<b>", ` ${call}`]) {
      expect(allows(format, text), text).toBe(text !== "<tool");
    }
    for (const text of ["<tool_call>", "<tool_call>x", `${call} and more`]) expect(allows(format, text)).toBe(false);
  });
});

describe("a model's reply", () => {
  let pocket: EdgeEngine;
  beforeAll(async () => {
    pocket = await engineOf(await checkpointFolder("pocket", "bf16"));
  });
  const schema = JSON.stringify({
    type: "object",
    properties: {
      name: { type: "string", maxLength: 12 },
      age: { type: "integer", minimum: 0, maximum: 120 },
      isNice: { type: "boolean" },
    },
    required: ["name", "age", "isNice"],
  });
  const format: Format = { type: "json_schema", schema };
  const run = (turn: Partial<Turn>) => {
    const tokens = renderPrompt([{ role: "user", content: "I am Ada." }], pocket.tokenizer!, pocket.chat!);
    return reply(pocket, { tokens, sampling: { seed: 5n }, format, ...turn });
  };

  it("is in its format and ends there, whatever the model would rather say", async () => {
    for (const seed of [1n, 2n, 3n]) {
      const { text, result } = await run({ sampling: { seed } });
      expect(JSON.parse(text)).toMatchObject({ name: expect.any(String), age: expect.any(Number) });
      expect(result.finishReason).toBe("stop");
      expect(pocket.manifest.stop_token_ids).toContain(result.stoppedBy);
    }
  });

  it("ends by itself where no token means an end", async () => {
    const { text, result } = await run({ stopTokens: [] });
    expect(() => JSON.parse(text) as unknown).not.toThrow();
    expect(result).toMatchObject({ finishReason: "stop" });
  });

  it("is the same one when it goes on after any of its tokens", async () => {
    const whole = await run({});
    for (const length of [1, 3, whole.tokens.length - 1, whole.tokens.length]) {
      const again = await run({ replied: whole.tokens.slice(0, length) });
      expect(again.tokens).toEqual(whole.tokens);
      expect(again.text).toBe(whole.text);
    }
  });

  it("is cut at its length like any other, and at stop strings", async () => {
    expect((await run({ maxTokens: 4 })).result.finishReason).toBe("length");
    const cut = await run({ stop: ['"age"'] });
    expect(cut.text).toMatch(/^\{"name":".*",$/);
  });

  it("tells the model's own log-probabilities", async () => {
    const { tokens, generated } = await run({ topLogProbabilities: 2 });
    const prompt = renderPrompt([{ role: "user", content: "I am Ada." }], pocket.tokenizer!, pocket.chat!);
    const { logits } = await score(pocket, [...prompt, ...tokens]);
    const V = pocket.config.vocabSize;
    for (const [index, { token, logProbability: told }] of generated.entries()) {
      const row = logits.subarray((prompt.length - 1 + index) * V, (prompt.length + index) * V);
      expect(told).toBe(logProbability(row, token));
    }
  });
});
