// Edge and origin as one engine, with real ones of both: chats that change sides, and origins that are killed.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { EdgeEngine } from "../../src/engine/edge.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { State } from "../../src/model/state.ts";
import { loadPlaced } from "../../src/engine/load-placed.ts";
import { CircuitBreaker } from "../../src/engine/origin/circuit-breaker.ts";
import { OriginEngine } from "../../src/engine/origin/origin.ts";
import { PlacedEngine, type PlacedOptions, type PlacedTurn } from "../../src/engine/placed.ts";
import { decodeStateFile, encodeStateFile } from "../../src/engine/state-file.ts";
import { GriffinError } from "../../src/errors.ts";
import { renderPrompt } from "../../src/model/chat-template.ts";
import type { Format } from "../../src/model/weights.ts";
import { opener, type Folder } from "../checkpoint/folders.ts";
import { griffin } from "../cli/program.ts";
import { faultOf } from "../engine/origin/models.ts";
import { checkpointFolder, engineOf, entriesOf, kernelModule, maxDifference, reply, score } from "../parity/models.ts";
import { readTensors } from "../reference/safetensors.ts";
import { talk } from "../serve/talk.ts";
import { hasOrigin, openWay, skipNote, startOrigin, type RealOrigin, type Way } from "./real-origin.ts";

const key = "a-key-of-these-tests";

/** The largest difference of logits, and of states, relative to the largest value. f32: 1e-3, of logits in the tens. */
const tolerances: Record<string, { logits: number; state: number }> = {
  f32: { logits: 1e-3, state: 1e-3 },
  int8: { logits: 0.2, state: 0.02 },
};

describe.skipIf(!hasOrigin)(`pocket in bf16 at both${skipNote}`, () => {
  it("has the same logits at the edge and at its origin, and goes on at one from the other's state", async () => {
    const folder = await checkpointFolder("pocket", "bf16");
    const edge = await engineOf(folder);
    const origin = await startOrigin(folder);
    try {
      const there = new OriginEngine(edge, { url: origin.url });
      const tokens = Array.from({ length: 90 }, (_, i) => 5 + ((i * 37) % 900));
      let state: State | undefined;
      for (const part of [tokens.slice(0, 40), tokens.slice(40, 41), tokens.slice(41)]) {
        const { logits, state: after } = await there.prefill(part, state);
        const expected = (await score(edge, part, 64, state)).logits.slice(-edge.config.vocabSize);
        expect(maxDifference(logits!, expected)).toBeLessThanOrEqual(1e-3);
        state = after;
      }
    } finally {
      await origin.stop();
    }
  }, 420_000);
});

/** Root mean square of a difference, relative to that of the values. */
function relativeRms(values: Float32Array, expected: Float32Array): number {
  const sum = (of: (i: number) => number) => expected.reduce((total, _, i) => total + of(i) ** 2, 0);
  return Math.sqrt(sum((i) => (values[i] ?? NaN) - (expected[i] ?? NaN)) / sum((i) => expected[i] ?? NaN));
}

describe.skipIf(!hasOrigin).each<Format>(["f32", "int8"])(`pocket in %s at both${skipNote}`, (format) => {
  let folder: Folder;
  let origin: RealOrigin;
  let way: Way;
  let edge: EdgeEngine;
  const placed = (options: Partial<PlacedOptions> = {}, silenceMs = 30_000) => {
    const breaker = new CircuitBreaker(Date.now, { firstWaitMs: 100, mostWaitMs: 200, probeMs: 1_000 });
    const there = new OriginEngine(edge, { url: way.url, key, breaker, times: { silenceMs } });
    return new PlacedEngine({ edge, origin: there, prefillTokens: 1, takesBatches: true, ...options });
  };
  beforeAll(async () => {
    folder = await checkpointFolder("pocket", format);
    edge = await engineOf(folder, { slots: 4 });
    origin = await startOrigin(folder, { GRIFFIN_ORIGIN_KEY: key });
    way = await openWay(origin.url);
  }, 420_000);
  beforeEach(() => way.mend());
  afterAll(async () => {
    way.close();
    await origin.stop();
  });

  const promptOf = (i: number, last: number | null) =>
    renderPrompt([{ role: "user", content: talk(i) }], edge.tokenizer!, edge.chat!, last);
  const sampling = { temperature: 0, seed: 3n };
  /** How far a state is from another, entry by entry, and the logits of what follows. */
  const expectClose = async (state: State, expected: State) => {
    expect(state.position).toBe(expected.position);
    const { logits, state: relative } = tolerances[format]!;
    const entries = entriesOf(edge, state);
    for (const [name, values] of entriesOf(edge, expected)) {
      const most = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      expect(maxDifference(entries.get(name)!, values), name).toBeLessThanOrEqual(relative * most);
    }
    const next = [5, 6, 7];
    const [ours, theirs] = [await score(edge, next, 64, state), await score(edge, next, 64, expected)];
    expect(maxDifference(ours.logits, theirs.logits)).toBeLessThanOrEqual(logits);
  };

  it("a chat that changes sides at every turn says what the edge alone says, with the same state", async () => {
    const engine = placed();
    const here = placed({ origin: null });
    const placements = [];
    let state: State | undefined;
    let expected: State | undefined;
    let last: number | null = null;
    for (let i = 0; i < 9; i++) {
      const turn = { tokens: promptOf(i, last), maxTokens: 24, sampling };
      // The three ways there are: whole turns at the origin, read there, all at the edge.
      const side = [{ isBatch: true }, {}, null][i % 3]!;
      const ours = await reply(side === null ? here : engine, { ...turn, state, ...side } as PlacedTurn);
      const alone = await reply(edge, { ...turn, state: expected });
      expect(ours.text).toBe(alone.text);
      expect(ours.tokens).toEqual(alone.tokens);
      const { state: after, placement, ...told } = ours.result as typeof ours.result & { placement: string };
      const { state: afterAlone, ...toldAlone } = alone.result;
      expect(told).toEqual(toldAlone);
      await expectClose(after, afterAlone);
      placements.push(placement);
      [state, expected, last] = [after, afterAlone, ours.tokens.at(-1)!];
    }
    expect(placements).toEqual(Array.from({ length: 3 }, () => ["origin", "origin_prefill", "edge"]).flat());
  });

  it("a chat that stays at the origin finds its state there, and says what the edge alone says", async () => {
    const lookups = async () => {
      const headers = { authorization: `Bearer ${key}` };
      const said = await (await fetch(`${way.url}/metrics`, { headers })).text();
      return ["yes", "no"].map((found) =>
        Number(RegExp(`warm_lookups_total{found="${found}"} (\\S+)`).exec(said)?.[1] ?? 0),
      );
    };
    const [before = 0, missed = 0] = await lookups();
    const engine = placed();
    let [state, expected, last]: [State?, State?, number?] = [];
    for (let i = 0; i < 4; i++) {
      const turn = { tokens: promptOf(i, last ?? null), maxTokens: 24, sampling };
      const ours = await reply(engine, { ...turn, state, isBatch: true } as PlacedTurn);
      const alone = await reply(edge, { ...turn, state: expected });
      expect(ours.text).toBe(alone.text);
      [state, expected, last] = [ours.result.state, alone.result.state, ours.tokens.at(-1)!];
    }
    expect(await lookups()).toEqual([before + 3, missed]);
    await expectClose(state!, expected!);
  });

  it("a state that is taken along goes on at the other, and back", async () => {
    const { files } = edge.manifest;
    const [weights, graph] = [files["weights.safetensors"].sha256, files["graph.onnx"].sha256];
    const { window, vocabSize } = edge.config;
    const model = { checkpoint: weights, graph, layout: edge.instance.stateLayout, window, vocabSize };
    const carry = (state: State, tokens: number[]) =>
      decodeStateFile(encodeStateFile({ state, tokens }, model), model).state;
    const first = await reply(edge, { tokens: promptOf(0, null), maxTokens: 16, sampling });
    const there = { tokens: promptOf(1, first.tokens.at(-1)!), maxTokens: 16, sampling, isBatch: true };
    const second = await reply(placed(), { ...there, state: carry(first.result.state, first.tokens) } as PlacedTurn);
    const third = { tokens: promptOf(2, second.tokens.at(-1)!), maxTokens: 16, sampling };
    const back = await reply(edge, { ...third, state: carry(second.result.state, second.tokens) });
    const expected = await reply(edge, { ...there, state: first.result.state });
    expect(second.text).toBe(expected.text);
    expect(back.text).toBe((await reply(edge, { ...third, state: expected.result.state })).text);
    await expectClose(second.result.state, expected.result.state);
  });

  it("what the edge would refuse is not read at the origin first", async () => {
    const failures: string[] = [];
    way.break();
    const engine = placed({ originFailed: ({ code }) => failures.push(code) });
    for (const wrong of [{ stop: [""] }, { maxTokens: -1 }, { sampling: { topP: 2 } }]) {
      expect((await faultOf(() => reply(engine, { tokens: promptOf(0, null), ...wrong }))).code).toBe(
        "invalid_argument",
      );
    }
    expect(failures).toEqual([]);
  });

  it("sampled replies with penalties are the same, wherever they run", async () => {
    const options = { maxTokens: 40, history: [30, 31, 32], sampling: { seed: 11n, repetitionPenalty: 1.3, topK: 40 } };
    const turn = { tokens: promptOf(1, null), ...options };
    // In int8 two tokens are soon so nearly equally likely that the difference of both sides decides.
    const beginning = async (engine: Engine, isBatch = false) =>
      (await reply(engine, { ...turn, isBatch } as PlacedTurn)).tokens.slice(0, format === "f32" ? 40 : 12);
    const alone = await beginning(edge);
    expect(await beginning(placed())).toEqual(alone);
    expect(await beginning(placed(), true)).toEqual(alone);
  });

  it("a turn that was interrupted goes on from what it replied, and says it again", async () => {
    const turn = { tokens: promptOf(1, null), maxTokens: 30, sampling };
    const alone = await reply(edge, turn);
    for (const isBatch of [false, true]) {
      const again = await reply(placed(), { ...turn, isBatch, replied: alone.tokens.slice(0, 9) } as PlacedTurn);
      expect(again.text).toBe(alone.text);
      expect(again.result).toMatchObject({
        completionTokens: alone.result.completionTokens,
        promptTokens: turn.tokens.length,
      });
      await expectClose(again.result.state, alone.result.state);
    }
  });

  it("an origin that is not there at all is found out before the reply", async () => {
    way.break();
    const turn = { tokens: promptOf(1, null), maxTokens: 20, sampling };
    const alone = await reply(edge, turn);
    for (const isBatch of [false, true]) {
      const { generated, result } = await reply(placed(), { ...turn, isBatch } as PlacedTurn);
      expect(generated).toEqual(alone.generated);
      expect(result).toEqual({ ...alone.result, placement: "edge" });
    }
  });

  it("a model that is only there fails while it is away, and works when it is back, even in mid-turn", async () => {
    const withoutWeights = new Map(folder);
    withoutWeights.delete("weights.safetensors");
    const breaker = new CircuitBreaker(Date.now, { firstWaitMs: 300, mostWaitMs: 300, probeMs: 1_000 });
    const only = await loadPlaced(kernelModule, opener(withoutWeights), {
      origin: { url: way.url, key, breaker, prefillTokens: 1, takesBatches: true },
      wholeLimitBytes: 2 ** 27,
    });
    way.break();
    const turn = { tokens: promptOf(1, null), maxTokens: 150, sampling: { seed: 9n, topK: 1 }, stopTokens: [] };
    only.checkThere();
    expect((await faultOf(() => reply(only, turn))).code).toBe("origin_away");
    const fault = await faultOf(() => only.checkThere());
    expect(fault).toMatchObject({ code: "origin_away", message: expect.stringMatching(/is away; .* in 1 s/) });

    way.mend();
    await new Promise((resolve) => void setTimeout(resolve, 300));
    only.checkThere();
    const events = only.generate(turn);
    const tokens: number[] = [];
    let next = await events.next();
    for (; !next.done; next = await events.next()) {
      if (tokens.push(next.value.token) !== 10) continue;
      way.break();
      setTimeout(way.mend, 100);
    }
    const alone = await reply(edge, turn);
    expect(tokens.slice(0, 40)).toEqual(alone.tokens.slice(0, 40));
    expect(next.value).toMatchObject({ placement: "origin", completionTokens: 150, finishReason: "length" });
    await expectClose(next.value.state, (await reply(edge, { ...turn, replied: tokens })).result.state);
    const scored = only.score(turn.tokens);
    expect((await faultOf(() => scored.next())).code).toBe("unsupported");
    const held = { ...turn, format: { type: "json_object" } as unknown as PlacedTurn["format"] };
    expect((await faultOf(() => reply(only, held))).message).toMatch(/held to a format/);
  });

  it("replies of a model that is only there all outlive a break, though one of them finds out first that it is over", async () => {
    const withoutWeights = new Map(folder);
    withoutWeights.delete("weights.safetensors");
    const breaker = new CircuitBreaker(Date.now, { firstWaitMs: 300, mostWaitMs: 300, probeMs: 45_000 });
    const only = await loadPlaced(kernelModule, opener(withoutWeights), {
      origin: { url: way.url, key, breaker, prefillTokens: 1, takesBatches: true },
      wholeLimitBytes: 2 ** 27,
    });
    const turn = { tokens: promptOf(1, null), maxTokens: 150, sampling: { seed: 9n, topK: 1 }, stopTokens: [] };
    let begun = 0;
    const replies = Array.from({ length: 3 }, async () => {
      const events = only.generate(turn);
      let next = await events.next();
      for (let count = 0; !next.done; next = await events.next()) {
        if (++count !== 5 || ++begun !== 3) continue;
        way.break();
        setTimeout(way.mend, 100);
      }
      return next.value;
    });
    for (const result of await Promise.all(replies)) {
      expect(result).toMatchObject({ placement: "origin", completionTokens: 150, finishReason: "length" });
    }
  });

  it("what whoever reads a reply throws is no failure of the origin, and nothing runs on for it", async () => {
    const failures: string[] = [];
    const engine = placed({ originFailed: ({ code }) => failures.push(code) });
    const turn = { tokens: promptOf(1, null), maxTokens: 600, sampling: { seed: 2n }, stopTokens: [] };
    const events = engine.generate({ ...turn, isBatch: true });
    await events.next();
    const refused = new GriffinError("refused", "not this");
    await expect(events.throw(refused)).rejects.toBe(refused);
    expect([failures, edge.isBusy, engine.isBusy]).toEqual([[], false, false]);
  });

  it("a cancel that meets the loss of the origin keeps what was said", async () => {
    const turn = { tokens: promptOf(1, null), maxTokens: 5_000, sampling: { seed: 2n }, stopTokens: [] };
    const cancel = new AbortController();
    const events = placed().generate({ ...turn, isBatch: true }, cancel.signal);
    let count = 0;
    let next = await events.next();
    for (; !next.done; next = await events.next()) {
      if (++count !== 5) continue;
      cancel.abort();
      way.break();
    }
    expect(next.value).toMatchObject({ finishReason: "cancelled", completionTokens: count });
    expect(count).toBeGreaterThanOrEqual(5);
    expect(next.value.state.position).toBe(turn.tokens.length + count);
  });

  it("a model that does not fit here, however little else is there, is only there", async () => {
    const options = { url: way.url, key, prefillTokens: 1, takesBatches: true };
    const load = (limitBytes: number, wholeLimitBytes: number, isThere = true) =>
      loadPlaced(kernelModule, opener(folder), {
        origin: isThere ? options : null,
        wholeLimitBytes,
        inMemory: (use) => use(limitBytes),
      });
    const [little, much] = [2 ** 20, 2 ** 26];
    expect(await load(little, little)).toMatchObject({ edge: null, memoryBytes: 0 });
    expect((await load(much, much)).edge).not.toBeNull();
    // It fits when others have gone: whoever loads it sees to that.
    expect((await faultOf(() => load(little, much))).code).toBe("model_too_large");
    expect((await faultOf(() => load(little, little, false))).code).toBe("model_too_large");
    const { state, placement } = (await reply(await load(little, little), { tokens: [2, 5, 6], maxTokens: 2 }))
      .result as never as { state: State; placement: string };
    expect([state.position, placement]).toEqual([5, "origin"]);
  });

  it("an origin of another model is none", async () => {
    const other = await engineOf(await checkpointFolder("pocket", "bf16"));
    const failures: string[] = [];
    const there = new OriginEngine(other, { url: way.url, key });
    const strange = { edge: other, origin: there, originFailed: ({ code }: { code: string }) => failures.push(code) };
    const engine = new PlacedEngine({ ...strange, prefillTokens: 1, takesBatches: true });
    for (let i = 0; i < 3; i++) {
      expect((await reply(engine, { tokens: [2, 5, 6], maxTokens: 3 })).result).toMatchObject({ placement: "edge" });
    }
    expect(failures).toEqual(["origin_failed"]);
  });

  it("a cancel in the middle keeps what was read and said, wherever that was", async () => {
    const turn = { tokens: promptOf(1, null), maxTokens: 5_000, sampling: { seed: 2n }, stopTokens: [] };
    const cancel = new AbortController();
    const events = placed().generate({ ...turn, isBatch: true }, cancel.signal);
    let count = 0;
    let next = await events.next();
    for (; !next.done; next = await events.next()) if (++count === 5) cancel.abort();
    expect(next.value).toMatchObject({ finishReason: "cancelled", completionTokens: count, placement: "origin" });
    expect(next.value.state.position).toBe(turn.tokens.length + count);
    const long = { ...turn, tokens: Array.from({ length: 20_000 }, (_, i) => 5 + (i % 900)) };
    const early = AbortSignal.timeout(300);
    const { result, tokens } = await reply(placed(), long, early);
    expect(tokens).toEqual([]);
    expect(result).toMatchObject({ finishReason: "cancelled", completionTokens: 0, placement: "origin_prefill" });
    expect(result.state.position).toBe(result.promptTokens);
    expect(result.promptTokens).toBeLessThan(20_000);
  });

  it("griffin logits writes what the edge writes, reading chunks and token by token", async () => {
    const checkpoint = mkdtempSync(path.join(tmpdir(), "griffin-logits-"));
    for (const [name, bytes] of folder) writeFileSync(path.join(checkpoint, name), bytes);
    const tokens = Array.from({ length: 20 }, (_, i) => 5 + ((i * 37) % 900));
    writeFileSync(path.join(checkpoint, "tokens.json"), JSON.stringify(tokens));
    const logits = async (...args: string[]) => {
      const out = path.join(checkpoint, "out.safetensors");
      const given = ["--tokens", path.join(checkpoint, "tokens.json"), "--out", out, "--states", ...args];
      const outcome = await griffin(["logits", checkpoint, ...given], "", undefined, { GRIFFIN_ORIGIN_KEY: key });
      return { ...outcome, tensors: outcome.status === 0 ? readTensors(out) : new Map<string, Float32Array>() };
    };
    const { tensors: expected } = await logits();
    for (const chunk of ["20", "1"]) {
      const { tensors, stderr } = await logits("--engine", "origin", "--url", way.url, "--chunk", chunk);
      expect(stderr).toBe("");
      expect([...tensors.keys()]).toEqual([...expected.keys()]);
      expect(relativeRms(tensors.get("logits")!, expected.get("logits")!)).toBeLessThan(format === "f32" ? 1e-4 : 1e-2);
      if (format === "f32") {
        for (const [name, values] of expected)
          expect(maxDifference(tensors.get(name)!, values), name).toBeLessThanOrEqual(1e-3);
      }
    }
    expect((await logits("--engine", "origin")).stderr).toMatch(/Where is the origin/);
    way.break();
    expect((await logits("--engine", "origin", "--url", way.url)).stderr).toMatch(/cannot be reached/);
    rmSync(checkpoint, { recursive: true });
  });

  it("a turn whose origin is killed in the middle goes on at the edge from what it said, and ends as it would have", async () => {
    const failures: string[] = [];
    const engine = placed({ originFailed: ({ code }) => failures.push(code) });
    const turn = { tokens: promptOf(1, null), maxTokens: 600, sampling: { temperature: 1, seed: 5n }, stopTokens: [] };
    const events = engine.generate({ ...turn, isBatch: true });
    const tokens: number[] = [];
    let text = "";
    let next = await events.next();
    for (; !next.done; next = await events.next()) {
      tokens.push(next.value.token);
      text += next.value.text;
      if (tokens.length === 20) await origin.kill();
    }
    const { placement, ...result } = next.value;
    expect(placement).toBe("origin_then_edge");
    expect(failures).toEqual(["origin_failed"]);
    // The edge has read all of it by itself, so that nothing of the origin's is in the state.
    const again = await reply(edge, { ...turn, replied: tokens.slice(0, 500) });
    expect([tokens, text + result.text]).toEqual([again.tokens, again.text]);
    expect(result).toEqual(again.result);
    if (format === "f32") expect(text + result.text).toBe((await reply(edge, turn)).text);
  });
});
