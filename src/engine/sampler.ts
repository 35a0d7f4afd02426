// Sampler: draws the next token from the logits, the same one on every machine and in every language. Every number is
// an f32 and every operation rounds to nearest even; exp32, log32 and sum32 are those of float32.ts. In order:
//
//  0. format       what does not fit a format that the caller set: l ← −∞
//  1. bias         l ← l + bias[token]
//  2. penalties    n times in this reply: l ← (l − frequency · n) − presence
//                  among the last W tokens, prompt and reply: l ← l > 0 ? l / repetition : l · repetition
//  3. temperature  0: the highest logit, of equal ones the lowest id, and nothing below applies.
//                  Else w ← exp32((l − max l) / temperature), so the likeliest token weighs 1
//  4. candidates   ranked by l, highest first, then by id, lowest first. Each filter keeps a prefix of this ranking:
//     top-k        the first k
//     top-p        the shortest prefix whose running sum of w is at least p · sum32(w of the candidates so far)
//     min-p        up to the first whose w is below p (the likeliest weighs 1, so it always stays)
//  5. draw         u ← (x0 >> 8) · 2⁻²⁴ with x0 = threefry2x32(seed, (position, 0)); the first candidate whose running
//                  sum of w exceeds u · sum32(w of the candidates); if rounding leaves none, the last that weighs > 0
//
// Running sums add in order of rank; sum32 adds in order of id, all others counting 0.
import { GriffinError } from "../errors.ts";
import { exp32, sum32 } from "./float32.ts";
import { Ranking } from "./ranking.ts";
import type { SamplingOptions } from "./sampling.ts";
import { keyOf, uniformAt, type Words } from "./threefry.ts";

const f = Math.fround;

/** Draws the tokens of one reply. Holds O(vocabulary) scratch, so one is made per reply, not per token. */
export class Sampler {
  readonly #options: SamplingOptions;
  readonly #key: Words;
  readonly #recent: RecentTokens;
  readonly #repliedTimes = new Map<number, number>();
  readonly #logits: Float32Array;
  readonly #weights: Float32Array;
  readonly #kept: Float32Array;
  readonly #ranking: Ranking;

  /** `options` as parseSampling gives them; `window` is W, how far back the repetition penalty looks. */
  constructor(options: SamplingOptions, vocabSize: number, window: number) {
    this.#options = options;
    this.#key = keyOf(options.seed);
    this.#recent = new RecentTokens(window);
    this.#logits = new Float32Array(vocabSize);
    const drawn = options.temperature === 0 ? 0 : vocabSize; // greedy needs none of these
    this.#weights = new Float32Array(drawn);
    this.#kept = new Float32Array(drawn);
    this.#ranking = new Ranking(drawn);
  }

  /** Tells of tokens before the reply, oldest first: the prompt, or as much of it as is known. */
  context(tokens: Iterable<number>): void {
    for (const token of tokens) this.#recent.add(token);
  }

  /** Tells of a token that is now part of the reply, whether it was sampled or forced. */
  accept(token: number): void {
    this.#recent.add(token);
    this.#repliedTimes.set(token, (this.#repliedTimes.get(token) ?? 0) + 1);
  }

  /**
   * The token for `position` (how many tokens precede it), given the model's logits [V], which stay as they are.
   * `restrict` sets those of tokens that must not come to −∞; one at least is left.
   */
  sample(logits: Float32Array, position: number, restrict?: (logits: Float32Array) => void): number {
    this.#logits.set(logits);
    restrict?.(this.#logits);
    this.#adjust();
    const best = highest(this.#logits);
    if (f(this.#options.temperature) === 0) return best;
    return this.#draw(this.#logits[best] ?? 0, uniformAt(this.#key, position));
  }

  #adjust(): void {
    const { logitBias, frequencyPenalty, presencePenalty, repetitionPenalty } = this.#options;
    const logits = this.#logits;
    for (const [token, bias] of logitBias) logits[token] = (logits[token] ?? 0) + f(bias);
    if (frequencyPenalty !== 0 || presencePenalty !== 0) {
      for (const [token, times] of this.#repliedTimes) {
        logits[token] = f((logits[token] ?? 0) - f(f(frequencyPenalty) * times)) - f(presencePenalty);
      }
    }
    if (repetitionPenalty !== 1) {
      const penalty = f(repetitionPenalty);
      for (const token of this.#recent.distinct()) {
        const logit = logits[token] ?? 0;
        logits[token] = logit > 0 ? logit / penalty : logit * penalty;
      }
    }
  }

  #draw(maxLogit: number, u: number): number {
    const { topK, topP, minP } = this.#options;
    const temperature = f(this.#options.temperature);
    const weights = this.#weights;
    const weigh = (token: number) => {
      weights[token] = exp32(f(f((this.#logits[token] ?? 0) - maxLogit) / temperature));
    };
    this.#ranking.reset(this.#logits);
    const weightAt = (rank: number) => weights[this.#ranking.at(rank)] ?? 0;

    let count = topK === 0 ? weights.length : Math.min(topK, weights.length);
    if (count === weights.length) {
      for (let token = 0; token < count; token++) weigh(token);
    } else {
      weights.fill(0);
      for (let rank = 0; rank < count; rank++) weigh(this.#ranking.at(rank));
    }
    if (topP < 1) {
      const enough = f(f(topP) * this.#sumOfFirst(count));
      let running = weightAt(0);
      let kept = 1;
      while (kept < count && running < enough) running = f(running + weightAt(kept++));
      count = kept;
    }
    if (minP > 0) {
      let kept = 1;
      while (kept < count && weightAt(kept) >= f(minP)) kept++;
      count = kept;
    }
    const drawn = f(u * this.#sumOfFirst(count));
    let running = weightAt(0);
    let rank = 0;
    while (running <= drawn && rank + 1 < count && weightAt(rank + 1) > 0) running = f(running + weightAt(++rank));
    return this.#ranking.at(rank);
  }

  /** sum32 of the weights of the first `count` candidates. */
  #sumOfFirst(count: number): number {
    const weights = this.#weights;
    if (count === weights.length) return sum32(count, (i) => weights[i] ?? 0);
    const kept = this.#kept.fill(0);
    for (let rank = 0; rank < count; rank++) {
      const token = this.#ranking.at(rank);
      kept[token] = weights[token] ?? 0;
    }
    return sum32(kept.length, (i) => kept[i] ?? 0);
  }
}

/** The id of the highest logit, the lowest of equal ones. Fails with `internal` on NaN, +∞, or nothing but −∞. */
export function highest(logits: Float32Array): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i] ?? 0;
    if (!(logit < Infinity)) throw broken(i, logit);
    if (logit > (logits[best] ?? 0)) best = i;
  }
  if (logits[best] === -Infinity) throw broken(best, -Infinity);
  return best;
}

function broken(token: number, logit: number): GriffinError {
  return new GriffinError("internal", `No token can be chosen: the highest logit is ${logit}, that of token ${token}.`);
}

/** The last W tokens, and which are among them. */
class RecentTokens {
  readonly #ring: Int32Array;
  readonly #times = new Map<number, number>();
  #count = 0;

  constructor(window: number) {
    this.#ring = new Int32Array(window);
  }

  add(token: number): void {
    const slot = this.#count % this.#ring.length;
    if (this.#count >= this.#ring.length) this.#forget(this.#ring[slot] ?? 0);
    this.#ring[slot] = token;
    this.#times.set(token, (this.#times.get(token) ?? 0) + 1);
    this.#count++;
  }

  distinct(): Iterable<number> {
    return this.#times.keys();
  }

  #forget(token: number): void {
    const times = (this.#times.get(token) ?? 0) - 1;
    if (times > 0) this.#times.set(token, times);
    else this.#times.delete(token);
  }
}
