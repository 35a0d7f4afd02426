import { readFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EdgeEngine } from "../../src/engine/edge.ts";
import type { Turn } from "../../src/engine/engine.ts";
import { logProbability } from "../../src/engine/log-probabilities.ts";
import { renderPrompt } from "../../src/model/chat-template.ts";
import { emptyState } from "../../src/model/state.ts";
import { opener, type Folder } from "../checkpoint/folders.ts";
import { compile } from "../../wasm/build.ts";
import { bitsOf, checkpointFolder, engineOf, kernelModule, reply, score, testModel } from "../parity/models.ts";

const greedy = { sampling: { temperature: 0 } };
let pocket: EdgeEngine;
let folder: Folder;
beforeAll(async () => {
  folder = await checkpointFolder("pocket", "bf16");
  pocket = await engineOf(folder);
});

const ask = (text: string, last: number | null = null) =>
  renderPrompt([{ role: "user", content: text }], pocket.tokenizer!, pocket.chat!, last);
const run = (turn: Partial<Turn>, signal?: AbortSignal) =>
  reply(pocket, { tokens: ask("Count from 3 to 9."), ...greedy, ...turn }, signal);

describe("a reply", () => {
  it("ends with the model's stop token, which is in the state but not in the text", async () => {
    const { tokens, text, result } = await run({});
    expect(text).toBe("3, 4, 5, 6, 7, 8, 9.");
    expect(tokens.at(-1)).toBe(pocket.chat!.endOfTurnTokenId);
    expect(result).toMatchObject({ finishReason: "stop", stoppedBy: tokens.at(-1), completionTokens: tokens.length });
    expect(result.state.position).toBe(result.promptTokens + tokens.length);
  });

  it("leaves the state as if prompt and reply had been read at once", async () => {
    const prompt = ask("Count from 3 to 9.");
    for (const turn of [{}, { maxTokens: 4 }, { stop: ["6"] }]) {
      const { tokens, result } = await run(turn);
      const { state } = await score(pocket, [...prompt, ...tokens]);
      expect(bitsOf(result.state.data).equals(bitsOf(state.data))).toBe(true);
      expect(result.state.position).toBe(state.position);
    }
  });

  it("ends before a stop string, wherever the tokens are cut", async () => {
    const whole = (await run({})).text;
    for (let at = 1; at < whole.length; at++) {
      const stop = whole.slice(at, at + 3);
      const { text, result } = await run({ stop: ["never", stop] });
      expect(text).toBe(whole.slice(0, whole.indexOf(stop)));
      expect(result).toMatchObject({ finishReason: "stop", stoppedBy: stop });
    }
  });

  it("is cut at its length, and gives the text it held back", async () => {
    const { tokens, text, result } = await run({ maxTokens: 5, stop: ["6, 7"] });
    expect(tokens).toHaveLength(5);
    expect(text).toBe(pocket.tokenizer!.decode(tokens));
    expect(result.finishReason).toBe("length");
    expect(result.stoppedBy).toBeUndefined();
  });

  it("can be none at all: the prompt is read, the state goes on", async () => {
    const { tokens, result } = await run({ maxTokens: 0 });
    expect(tokens).toEqual([]);
    expect(result).toMatchObject({ finishReason: "length", text: "", completionTokens: 0 });
    expect(result.state.position).toBe(ask("Count from 3 to 9.").length);
  });

  it("goes on from a state without reading the past again", async () => {
    const first = await run({ tokens: ask("My name is Ada.") });
    const before = bitsOf(first.result.state.data).toString("hex");
    const second = await run({ tokens: ask("What is my name?", first.tokens.at(-1)), state: first.result.state });
    expect(second.text).toMatch(/Ada/);
    expect(bitsOf(first.result.state.data).toString("hex")).toBe(before);
    const alone = await run({ tokens: ask("What is my name?") });
    expect(alone.text).not.toMatch(/Ada/);
  });

  it("reports log-probabilities of the model's own distribution, whatever the sampling", async () => {
    const { generated, tokens } = await run({
      topLogProbabilities: 3,
      sampling: { temperature: 2, topK: 5, seed: 3n },
    });
    const prompt = ask("Count from 3 to 9.");
    const { logits } = await score(pocket, [...prompt, ...tokens]);
    const V = pocket.config.vocabSize;
    for (const [i, event] of generated.entries()) {
      const row = logits.subarray((prompt.length - 1 + i) * V, (prompt.length + i) * V);
      expect(event.logProbability).toBe(logProbability(row, event.token));
      expect(event.top).toHaveLength(3);
      expect(event.top![0]!.logProbability).toBeGreaterThanOrEqual(event.top![1]!.logProbability);
    }
    const plain = await run({});
    expect(plain.generated[0]).not.toHaveProperty("top");
  });

  it("looks back W tokens, history included, for the repetition penalty", async () => {
    const sampling = { temperature: 0, repetitionPenalty: 100 };
    const tokens = [pocket.tokenizer!.idOf("\n")!];
    const free = await run({ tokens, maxTokens: 1, sampling });
    const barred = await run({ tokens, maxTokens: 1, sampling, history: free.tokens });
    const forgotten = await run({ tokens, maxTokens: 1, sampling, history: [...free.tokens, ...Array(40).fill(9)] });
    expect(barred.tokens).not.toEqual(free.tokens);
    expect(forgotten.tokens).toEqual(free.tokens);
  });
});

describe("cancelling", () => {
  it("ends the reply after the token that came, in a state that has it", async () => {
    const cancel = new AbortController();
    const prompt = ask("Count from 3 to 9.");
    const events = pocket.generate({ tokens: prompt, ...greedy }, cancel.signal);
    const first = await events.next();
    cancel.abort();
    const last = await events.next();
    if (first.done || !last.done) throw new Error("expected one token, then the result");
    expect(last.value).toMatchObject({ finishReason: "cancelled", completionTokens: 1, promptTokens: prompt.length });
    const { state } = await score(pocket, [...prompt, first.value.token]);
    expect(bitsOf(last.value.state.data).equals(bitsOf(state.data))).toBe(true);
  });

  it("ends a long prompt between two chunks, and says how much was read", async () => {
    const engine = await engineOf(folder, { chunkTokens: 8 });
    const cancel = new AbortController();
    const tokens = Array.from({ length: 4000 }, (_, i) => i % 2000);
    setTimeout(() => cancel.abort(), 5);
    const { result } = await reply(engine, { tokens }, cancel.signal);
    expect(result.finishReason).toBe("cancelled");
    expect(result.promptTokens % 8).toBe(0);
    expect(result.promptTokens).toBeLessThan(4000);
    expect(result.state.position).toBe(result.promptTokens);
  });

  it("frees the slot, also when the reader of a reply walks away", async () => {
    for await (const { token } of pocket.generate({ tokens: ask("Tell me a story."), ...greedy }))
      if (token >= 0) break;
    expect((await run({})).text).toBe("3, 4, 5, 6, 7, 8, 9.");
  });
});

describe("an interrupted reply", () => {
  it("goes on from the tokens it had, to the same reply, state and text", async () => {
    const turn = {
      tokens: ask("Tell me a story about a fox."),
      sampling: { temperature: 1, seed: 4n },
      stop: ["fox named"],
    };
    const whole = await reply(pocket, turn);
    for (let had = 0; had <= whole.tokens.length; had++) {
      const resumed = await reply(pocket, { ...turn, replied: whole.tokens.slice(0, had) });
      expect(resumed.generated).toEqual(whole.generated);
      expect(resumed.text).toBe(whole.text);
      expect(resumed.result).toEqual(whole.result);
    }
  });
});

describe("a kernel that traps", () => {
  it("breaks the engine, which says so from then on", async () => {
    const index = await readFile(path.resolve(import.meta.dirname, "../../wasm/index.ts"), "utf8");
    const trap = "export function soft_cap(y: usize, x: usize, n: i32, cap: f32): void { unreachable(); }";
    const source = index.replace('export * from "./soft_cap";', trap);
    const engine = await EdgeEngine.load(
      await WebAssembly.compile(await compile("trap.ts", "plain", source)),
      opener(folder),
    );
    await expect(reply(engine, { tokens: ask("Hi.") })).rejects.toMatchObject({ code: "internal" });
    expect(engine.isBroken).toBe(true);
    expect(pocket.isBroken).toBe(false);
  });
});

describe("slots", () => {
  it("are as many as asked for, fewer where memory ends, never none", async () => {
    const { totalBytes, slotBytes } = pocket.instance.layout;
    const slotsIn = async (memoryLimitBytes: number) =>
      (await EdgeEngine.load(kernelModule, opener(folder), { slots: 5, logitsTokens: 64, memoryLimitBytes })).instance
        .layout.slots.length;
    expect(await slotsIn(totalBytes)).toBe(1);
    expect(await slotsIn(totalBytes + 2 * slotBytes + 100)).toBe(3);
    expect(await slotsIn(2 ** 30)).toBe(5);
  });
});

describe("bad turns", () => {
  it.each([
    ["no tokens", { tokens: [] }, /at least one token/],
    ["a token out of range", { tokens: [1, 2048] }, /tokens\[1\] .* from 0 to 2047, got 2048/],
    ["half a token", { tokens: [1.5] }, /got 1.5/],
    ["a negative length", { maxTokens: -1 }, /maxTokens .* got -1/],
    ["an empty stop string", { stop: [""] }, /stop string/],
    ["too many log-probabilities", { topLogProbabilities: 101 }, /topLogProbabilities .* got 101/],
    ["a temperature below 0", { sampling: { temperature: -1 } }, /temperature/],
    ["a history out of range", { history: [-5] }, /history\[0\] .* got -5/],
  ] as const)("with %s are refused, and the next one works", async (_, turn, message) => {
    await expect(run({ ...turn } as Partial<Turn>)).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(message),
    });
    expect((await run({ maxTokens: 1 })).tokens).toHaveLength(1);
  });

  it("with a state of another model or an impossible position are refused", async () => {
    const other = await engineOf(await testModel("tiny").checkpoint());
    const state = emptyState(other.instance.stateLayout);
    await expect(run({ state })).rejects.toMatchObject({ code: "invalid_state" });
    const mine = emptyState(pocket.instance.stateLayout);
    await expect(run({ state: { ...mine, position: -1 } })).rejects.toMatchObject({ code: "invalid_state" });
    await expect(run({ state: { ...mine, position: 2 ** 31 - 5 } })).rejects.toThrow(/last one is 2147483647/);
  });
});

describe("loading", () => {
  const load = (files: Folder, options = {}) => EdgeEngine.load(kernelModule, opener(files), options);

  it("refuses what does not fit, before it reads a weight", async () => {
    const files = new Map([...folder].filter(([name]) => name !== "weights.safetensors"));
    const { totalBytes } = pocket.instance.layout;
    await expect(load(files, { memoryLimitBytes: totalBytes / 2 })).rejects.toMatchObject({
      code: "model_too_large",
      message: expect.stringMatching(/needs \d+ bytes of memory \(weights \d+, 1 × state \d+, arena \d+\)/),
    });
    expect((await engineOf(folder, { memoryLimitBytes: totalBytes })).instance.layout.totalBytes).toBe(totalBytes);
  });

  it("refuses changed, truncated and missing weights", async () => {
    const weights = folder.get("weights.safetensors")!;
    const flipped = weights.slice();
    flipped[flipped.length - 5]! ^= 1;
    const withWeights = (bytes: Uint8Array) => new Map([...folder, ["weights.safetensors", bytes]]);
    await expect(load(withWeights(flipped))).rejects.toMatchObject({ code: "hash_mismatch" });
    await expect(load(withWeights(weights.subarray(0, -7)))).rejects.toMatchObject({ code: "invalid_checkpoint" });
    const missing = new Map([...folder].filter(([name]) => name !== "weights.safetensors"));
    await expect(load(missing)).rejects.toMatchObject({ code: "not_found" });
  });

  it("works without a tokenizer: tokens come, text does not", async () => {
    const engine = await engineOf(await testModel("tiny").checkpoint());
    expect(engine.tokenizer).toBeNull();
    const { tokens, text } = await reply(engine, { tokens: [1, 2, 3], maxTokens: 5, stopTokens: [], ...greedy });
    expect(tokens).toHaveLength(5);
    expect(text).toBe("");
    await expect(reply(engine, { tokens: [1], stop: ["x"] })).rejects.toMatchObject({ code: "invalid_argument" });
  });

  it.each([
    ["slots", { slots: 0 }],
    ["chunkTokens", { chunkTokens: 0.5 }],
    ["logitsTokens", { logitsTokens: -1 }],
  ])("refuses a bad %s", async (name, options) => {
    await expect(load(folder, options)).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(name),
    });
  });
});
