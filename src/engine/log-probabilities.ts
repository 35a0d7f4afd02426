// Log-probabilities of tokens under the model itself: log-softmax over its raw logits, before any sampling option.
// f32 with float32.ts, so they are the same numbers everywhere.
import { exp32, log32, sum32 } from "./float32.ts";
import { Ranking } from "./ranking.ts";
import { highest } from "./sampler.ts";

const f = Math.fround;

/** A token and the natural logarithm of its probability. */
export interface TokenLogProbability {
  token: number;
  logProbability: number;
}

/** What callers are told about one place: the token that stands there, and the likeliest ones. */
export interface TokenReport {
  logProbability: number;
  /** Likeliest first, lowest id first among equals. */
  top: TokenLogProbability[];
}

/** log p of one token: (l − max l) − log32(sum32(exp32(l − max l))). */
export function logProbability(logits: Float32Array, token: number): number {
  return logSoftmax(logits)(token);
}

/** Of a token and of the `count` likeliest ones, each as `logProbability` gives it. `logits`: [V]. */
export function reportToken(logits: Float32Array, token: number, count: number): TokenReport {
  const of = logSoftmax(logits);
  return { logProbability: of(token), top: topLogProbabilities(logits, count, of) };
}

/** The `count` likeliest tokens, likeliest first and lowest id first among equals, each as `logProbability` gives it. */
export function topLogProbabilities(
  logits: Float32Array,
  count: number,
  of = logSoftmax(logits),
): TokenLogProbability[] {
  if (count === 0) return [];
  const ranking = new Ranking(logits.length);
  ranking.reset(logits);
  return Array.from({ length: Math.min(count, logits.length) }, (_, rank) => {
    const token = ranking.at(rank);
    return { token, logProbability: of(token) };
  });
}

function logSoftmax(logits: Float32Array): (token: number) => number {
  const max = logits[highest(logits)] ?? 0;
  const shifted = (token: number) => f((logits[token] ?? 0) - max);
  const logSum = log32(sum32(logits.length, (token) => exp32(shifted(token))));
  return (token) => f(shifted(token) - logSum);
}
