// How test/vectors/sampling.json names its logits and options; test/python/make_sampling_vectors.py writes the file.
import type { SamplingOptions } from "../../src/engine/sampling.ts";
import { threefry2x32 } from "../../src/engine/threefry.ts";

type VectorLogits =
  | number[]
  | { vocab: number; seed: number; head?: undefined; rest?: undefined }
  | { vocab: number; head: number[]; rest: number; seed?: undefined };

/** The logits of a case: all given; the first ones given and `rest` for all others; or l = (x0 >> 8) · 2⁻²⁰ − 8 with
 *  x0 = threefry2x32(seed, (id, 0)). */
export function vectorLogits(logits: VectorLogits): Float32Array {
  if (Array.isArray(logits)) return Float32Array.from(logits);
  const { vocab: length, head, rest, seed } = logits;
  if (head !== undefined) return Float32Array.from({ length }, (_, token) => head[token] ?? rest);
  return Float32Array.from({ length }, (_, token) => (threefry2x32([0, seed], [token, 0])[0] >>> 8) / 2 ** 20 - 8);
}

const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** A case's options, which are snake_case there. */
export function vectorOptions(json: Record<string, unknown>): Partial<SamplingOptions> {
  const options = Object.fromEntries(Object.entries(json).map(([name, value]) => [camel(name), value]));
  const bias = Object.entries(json.logit_bias ?? {}).map(([token, value]) => [Number(token), Number(value)] as const);
  return { ...options, logitBias: new Map(bias), seed: BigInt(String(json.seed)) };
}
