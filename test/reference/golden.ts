// The golden vectors (test/golden/README.md): a checkpoint, what the reference implementation computed with it, and
// the Config its config.json stands for, read here by hand so that no test rests on the code it tests.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { BlockType, Config } from "../../src/model/config.ts";
import { round_bf16 } from "./kernels.ts";
import { readTensors, type Tensors } from "./safetensors.ts";

/** Goldens with states and greedy tokens, and `pocket` with tokens and logits only. */
export const goldenNames = ["tiny", "wide", "oneblock"] as const;
export type GoldenName = (typeof goldenNames)[number] | "pocket";

export interface Golden {
  /** The checkpoint's folder, in the Hugging Face layout. */
  folder: string;
  config: Config;
  /** Weights by Hugging Face's names without the leading `model.`. */
  tensors: Tensors;
  tokens: Int32Array;
  /** [T, V] */
  logits: Float32Array;
  greedy: { prompt: Int32Array; tokens: Int32Array } | null;
  /** Tokens read → entry name (`layers.0.rg_lru`, …) → values. */
  states: Map<number, Map<string, Float32Array>>;
}

const pathTo = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Reads one golden and its checkpoint. */
export function readGolden(name: GoldenName): Golden {
  const folder = pathTo(name === "pocket" ? "models/pocket" : `test/golden/${name}`);
  const vectors = readTensors(pathTo(`test/golden/${name}/golden.safetensors`));
  const vector = (key: string) => {
    const values = vectors.get(key);
    if (values === undefined) throw new Error(`golden ${name} has no ${key}`);
    return values;
  };
  const states: Golden["states"] = new Map();
  for (const [key, values] of vectors) {
    const [, position, entry] = /^state\.(\d+)\.(.+)$/.exec(key) ?? [];
    if (position === undefined || entry === undefined) continue;
    if (!states.has(Number(position))) states.set(Number(position), new Map());
    states.get(Number(position))!.set(entry, values);
  }
  return {
    folder,
    config: readConfig(`${folder}/config.json`),
    tensors: readCheckpoint(`${folder}/model.safetensors`),
    tokens: Int32Array.from(vector("tokens")),
    logits: vector("logits"),
    greedy: vectors.has("greedy.prompt")
      ? { prompt: Int32Array.from(vector("greedy.prompt")), tokens: Int32Array.from(vector("greedy.tokens")) }
      : null,
    states: new Map([...states].sort(([a], [b]) => a - b)),
  };
}

/** The tensors of a single-file Hugging Face checkpoint, without the leading `model.`. */
export function readCheckpoint(path: string): Tensors {
  return new Map([...readTensors(path)].map(([name, values]) => [name.replace(/^model\./, ""), values]));
}

/** The token with the largest logit of every row of [T, V]: what greedy sampling takes. */
export const likeliestTokens = (logits: Float32Array, vocabSize: number): number[] =>
  Array.from({ length: logits.length / vocabSize }, (_, t) => {
    const row = logits.subarray(t * vocabSize, (t + 1) * vocabSize);
    return row.indexOf(Math.max(...row));
  });

/** The Config of a config.json in the one spelling that the goldens use. */
function readConfig(path: string): Config {
  const json = JSON.parse(readFileSync(path, "utf8"));
  const pattern = json.block_types as BlockType[];
  return {
    vocabSize: json.vocab_size,
    width: json.hidden_size,
    lruWidth: json.lru_width,
    mlpWidth: json.intermediate_size / 2,
    blockTypes: Array.from({ length: json.num_hidden_layers }, (_, i) => pattern[i % pattern.length]!),
    numHeads: json.num_attention_heads,
    numKvHeads: json.num_key_value_heads,
    headDim: json.head_dim,
    window: json.attention_window_size,
    rotaryDim: json.head_dim * json.partial_rotary_factor,
    ropeTheta: json.rope_theta,
    rmsNormEpsilon: json.rms_norm_eps,
    logitsSoftCap: json.logits_soft_cap,
    activation: "gelu_tanh",
    embedScale: round_bf16(Math.sqrt(json.hidden_size)),
    tied: json.tie_word_embeddings,
    attentionBias: json.attention_bias,
    bosTokenId: json.bos_token_id,
    eosTokenIds: [json.eos_token_id],
    padTokenId: json.pad_token_id,
  };
}
