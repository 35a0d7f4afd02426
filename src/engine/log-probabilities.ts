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

/** log p of one token: (l − max l) − log32(sum32(exp32(l − max l))). */
export function logProbability(logits: Float32Array, token: number): number {
  return logSoftmax(logits)(token);
}

/** The `count` likeliest tokens, likeliest first and lowest id first among equals, each as `logProbability` gives it. */
export function topLogProbabilities(logits: Float32Array, count: number): TokenLogProbability[] {
  const of = logSoftmax(logits);
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
