import { describe, expect, it } from "vitest";
import { logProbability, topLogProbabilities } from "../../src/engine/log-probabilities.ts";
import { Sampler } from "../../src/engine/sampler.ts";
import { parseSampling, type SamplingOptions } from "../../src/engine/sampling.ts";
import vectors from "../vectors/sampling.json" with { type: "json" };
import { vectorLogits, vectorOptions } from "./sampling-vectors.ts";

function sampler(options: Partial<SamplingOptions>, vocabSize: number, window = 8): Sampler {
  return new Sampler(parseSampling({ seed: 1n, ...options }, vocabSize), vocabSize, window);
}

const draws = (options: Partial<SamplingOptions>, logits: Float32Array, count: number): number[] => {
  const one = sampler(options, logits.length);
  return Array.from({ length: count }, (_, position) => one.sample(logits, position));
};

const softmax = (logits: readonly number[]): number[] => {
  const weights = logits.map((x) => Math.exp(x));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
};

describe("sampling draws the tokens that Python draws", () => {
  const names = [...new Set(vectors.samples.map(({ name }) => name))];
  it.each(names)("%s", (name) => {
    for (const sample of vectors.samples.filter((other) => other.name === name)) {
      const logits = vectorLogits(sample.logits);
      const one = new Sampler(
        parseSampling(vectorOptions(sample.options), logits.length),
        logits.length,
        sample.window,
      );
      one.context(sample.context ?? []);
      for (const token of sample.reply ?? []) one.accept(token);
      expect(one.sample(logits, sample.position), `position ${sample.position}`).toBe(sample.token);
    }
  });
});

describe("sampling", () => {
  const logits = [0.5, 2, -1, 1.25, 2, -3];
  const drawn = 20_000;

  it.each<[string, Partial<SamplingOptions>, number[]]>([
    ["plainly", {}, softmax(logits)],
    ["at a temperature", { temperature: 0.7 }, softmax(logits.map((x) => x / 0.7))],
    ["from the first k", { topK: 3 }, softmax(logits.map((x) => (x >= 1.25 ? x : -Infinity)))],
    ["with a bias", { logitBias: new Map([[2, 3.5]]) }, softmax(logits.with(2, 2.5))],
  ])("%s, tokens are as frequent as softmax says", (_, options, probabilities) => {
    const counts = probabilities.map(() => 0);
    for (const token of draws({ ...options, seed: 20_26n }, Float32Array.from(logits), drawn)) counts[token]!++;
    const possible = [...probabilities.keys()].filter((token) => probabilities[token]! > 0);
    const expected = (token: number) => drawn * probabilities[token]!;
    const chiSquare = possible.reduce((sum, id) => sum + (counts[id]! - expected(id)) ** 2 / expected(id), 0);
    expect(possible.reduce((sum, token) => sum + counts[token]!, 0)).toBe(drawn);
    expect(chiSquare).toBeLessThan(20.5); // 5 degrees of freedom, p = 0.001
  });

  it("gives the same tokens again with the same seed, and others with another", () => {
    const flat = new Float32Array(100);
    expect(draws({ seed: 9n }, flat, 50)).toEqual(draws({ seed: 9n }, flat, 50));
    expect(draws({ seed: 9n }, flat, 50)).not.toEqual(draws({ seed: 10n }, flat, 50));
  });

  it("leaves the logits as they are", () => {
    const mine = Float32Array.from(logits);
    const one = sampler({ logitBias: new Map([[0, 5]]), presencePenalty: 1 }, mine.length);
    one.accept(1);
    one.sample(mine, 0);
    expect(mine).toEqual(Float32Array.from(logits));
  });

  it("never draws a token that weighs nothing, however large u is", () => {
    const masked = new Float32Array(5000).fill(-Infinity);
    masked.fill(0.1, 1000, 4000);
    expect(draws({}, masked, 3000).filter((token) => token < 1000 || token >= 4000)).toEqual([]);
  });

  it.each([Number.NaN, Infinity])("fails as internal when a logit is %d, and says which", (wrong) => {
    for (const temperature of [0, 1]) {
      const broken = Float32Array.from(logits).with(3, wrong);
      const one = sampler({ temperature }, broken.length);
      expect(() => one.sample(broken, 0)).toThrow(
        expect.objectContaining({ code: "internal", message: expect.stringContaining("token 3") }),
      );
      expect(one.sample(Float32Array.from(logits), 0)).toBeGreaterThanOrEqual(0);
    }
  });

  it("fails as internal when every token is masked", () => {
    const one = sampler({}, 4);
    expect(() => one.sample(new Float32Array(4).fill(-Infinity), 0)).toThrow(
      expect.objectContaining({ code: "internal" }),
    );
  });
});

describe("sampling options", () => {
  it.each<[keyof SamplingOptions, Partial<SamplingOptions>, string]>([
    ["temperature", { temperature: -0.1 }, "-0.1"],
    ["temperature", { temperature: Number.NaN }, "NaN"],
    ["topK", { topK: -1 }, "-1"],
    ["topK", { topK: 1.5 }, "1.5"],
    ["topP", { topP: 1.01 }, "1.01"],
    ["minP", { minP: -1 }, "-1"],
    ["frequencyPenalty", { frequencyPenalty: 2.5 }, "2.5"],
    ["presencePenalty", { presencePenalty: -3 }, "-3"],
    ["repetitionPenalty", { repetitionPenalty: 0 }, "0"],
    ["logitBias", { logitBias: new Map([[16, 1]]) }, "16"],
    ["logitBias", { logitBias: new Map([[-1, 1]]) }, "-1"],
    ["logitBias", { logitBias: new Map([[3, 101]]) }, "101"],
    ["seed", { seed: -1n }, "-1"],
    ["seed", { seed: 2n ** 64n }, "18446744073709551616"],
  ])("refuse a wrong %s, naming it and its value: %o", (name, options, value) => {
    expect(() => parseSampling(options, 16)).toThrow(
      expect.objectContaining({
        code: "invalid_argument",
        message: expect.stringMatching(new RegExp(`${name}.*got ${value.replace(".", "\\.")}\\.$`)),
      }),
    );
  });

  it("are filled in where nothing is given, with a seed that nobody knows beforehand", () => {
    const [one, other] = [parseSampling({}, 16), parseSampling({ temperature: undefined }, 16)];
    expect(one).toMatchObject({ temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 });
    expect(other.temperature).toBe(1);
    expect(one.seed).not.toBe(other.seed);
  });
});

describe("log-probabilities", () => {
  const logits = vectorLogits({ vocab: 2048, seed: 7 });
  const words = new Uint32Array(1);
  const bits = (x: number) => {
    new Float32Array(words.buffer)[0] = x;
    return words[0]!.toString(16).padStart(8, "0");
  };

  it("have the same bits as in Python", () => {
    for (const entry of vectors.log_probabilities) {
      const some = vectorLogits(entry.logits);
      expect(entry.bits.map((_, token) => bits(logProbability(some, token)))).toEqual(entry.bits);
    }
  });

  it("are log-softmax", () => {
    const exact = softmax([...logits]).map((p) => Math.log(p));
    for (const token of [0, 1, 700, 2047]) expect(logProbability(logits, token)).toBeCloseTo(exact[token]!, 5);
  });

  it("of the likeliest come in order, with the numbers that the tokens have alone", () => {
    const top = topLogProbabilities(logits, 20);
    const sorted = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, 20);
    expect(top.map(({ token }) => token)).toEqual(sorted);
    for (const entry of top) expect(entry.logProbability).toBe(logProbability(logits, entry.token));
  });

  it("of equal tokens are equal, lowest id first, and no more than there are", () => {
    const top = topLogProbabilities(Float32Array.of(1, 1, 1), 5);
    expect(top.map(({ token }) => token)).toEqual([0, 1, 2]);
    expect(new Set(top.map(({ logProbability: p }) => p)).size).toBe(1);
    expect(top[0]!.logProbability).toBeCloseTo(-Math.log(3), 6);
  });
});
