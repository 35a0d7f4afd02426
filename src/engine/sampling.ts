// The options of sampling, and their border: what callers may ask for, checked once before a turn starts.
// sampler.ts says what each one does.
import { GriffinError } from "../errors.ts";

export interface SamplingOptions {
  /** 0: always the likeliest token. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  frequencyPenalty: number;
  presencePenalty: number;
  /** 1: off. */
  repetitionPenalty: number;
  /** Token id → what is added to its logit. */
  logitBias: ReadonlyMap<number, number>;
  /** Below 2^64. The same seed, logits and positions give the same tokens on every machine. */
  seed: bigint;
}

/** Plain sampling from the model's own distribution. */
export const defaultSampling: Omit<SamplingOptions, "seed"> = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  repetitionPenalty: 1,
  logitBias: new Map(),
};

const ranges = {
  temperature: [0, 100],
  topK: [0, 2 ** 31 - 1],
  topP: [0, 1],
  minP: [0, 1],
  frequencyPenalty: [-2, 2],
  presencePenalty: [-2, 2],
  repetitionPenalty: [0.01, 100],
} as const satisfies Partial<Record<keyof SamplingOptions, readonly [number, number]>>;
const biasRange = [-100, 100] as const;
const seedLimit = 2n ** 64n;

/** What a caller may leave out is filled in; a missing seed is drawn at random. Fails with `invalid_argument`. */
export function parseSampling(given: Partial<SamplingOptions>, vocabSize: number): SamplingOptions {
  const options: SamplingOptions = { ...defaultSampling, seed: given.seed ?? randomSeed() };
  for (const [name, range] of entriesOf(ranges)) {
    const value = given[name] ?? options[name];
    checkRange(name, value, range);
    options[name] = value;
  }
  if (!Number.isInteger(options.topK)) throw invalid("topK", "an integer", options.topK);
  if (typeof options.seed !== "bigint" || options.seed < 0n || options.seed >= seedLimit) {
    throw invalid("seed", "a bigint from 0 to 2^64 - 1", options.seed);
  }
  for (const [token, bias] of given.logitBias ?? []) {
    if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
      throw invalid("logitBias", `token ids from 0 to ${vocabSize - 1}`, token);
    }
    checkRange(`logitBias of token ${token}`, bias, biasRange);
  }
  options.logitBias = new Map(given.logitBias);
  return options;
}

/** A seed nobody chose. */
export function randomSeed(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
}

const entriesOf = <K extends string, V>(record: Readonly<Record<K, V>>) => Object.entries(record) as [K, V][];

function checkRange(name: string, value: number, [low, high]: readonly [number, number]): void {
  if (!(typeof value === "number" && value >= low && value <= high)) {
    throw invalid(name, `a number from ${low} to ${high}`, value);
  }
}

function invalid(name: string, expected: string, got: unknown): GriffinError {
  return new GriffinError("invalid_argument", `Sampling option ${name}: expected ${expected}, got ${String(got)}.`);
}
