// griffin logits: the model's numbers for a token sequence, from our kernels, from onnxruntime-web or from an origin, as
// safetensors.
import { encodeHeader } from "../checkpoint/safetensors.ts";
import { OriginEngine } from "../engine/origin/origin.ts";
import { GriffinError } from "../errors.ts";
import { weightsFile } from "../model/graph.ts";
import { parseJson } from "../model/parse-json.ts";
import { emptyState, entryValues, stateLayout, type StateLayout } from "../model/state.ts";
import { checkPrompt } from "../model/tokens.ts";
import { loadEngine, readCheckpoint } from "./engine.ts";
import { createFile, openFolder, readText, removeFile } from "./files.ts";
import { nodeHash } from "./hash.ts";

export interface LogitsOptions {
  tokens: string;
  out: string;
  engine: "wasm" | "onnx" | "origin";
  /** Where the origin is. */
  url?: string;
  chunk?: number;
  states?: boolean;
  memory?: number;
  threads?: number;
}

/** A loaded model, whoever computes. */
interface Scorer {
  vocabSize: number;
  layout: StateLayout;
  /** Hands logits [n, V] to `take`, chunk by chunk; returns the values of every state entry, in the layout's order. */
  score(tokens: readonly number[], take: (logits: Float32Array) => Promise<void>): Promise<Float32Array[]>;
  /** Frees the model. Never fails. */
  close(): Promise<void>;
}

const defaultChunkTokens = 64;

/** Writes `logits` [T, V] f32 and, if asked, the entries of the state as `state.{T}.layers.{i}.…`. */
export async function writeLogits(folder: string, options: LogitsOptions): Promise<void> {
  const tokens = await readTokens(options.tokens);
  const scorer = await scorers[options.engine](folder, tokens, options);
  try {
    await writeScores(scorer, tokens, options);
  } finally {
    await scorer.close();
  }
}

async function writeScores(scorer: Scorer, tokens: readonly number[], options: LogitsOptions): Promise<void> {
  const { vocabSize, layout } = scorer;
  checkPrompt(tokens, vocabSize);
  const states = options.states ? layout.entries : [];
  const header = encodeHeader([
    { name: "logits", dtype: "F32", shape: [tokens.length, vocabSize] },
    ...states.map(({ name, shape }) => ({ name: `state.${tokens.length}.${name}`, dtype: "F32" as const, shape })),
  ]);
  const file = await createFile(options.out);
  try {
    await file.write(header.bytes);
    const state = await scorer.score(tokens, (logits) => file.write(bytesOf(logits)));
    for (const values of options.states ? state : []) await file.write(bytesOf(values));
    await file.close();
  } catch (error) {
    await file.close().catch(ignore);
    await removeFile(options.out).catch(ignore);
    throw error;
  }
}

const ignore = () => undefined;

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

async function readTokens(file: string): Promise<number[]> {
  const value = parseJson(await readText(file), file, "invalid_argument");
  if (!Array.isArray(value) || !value.every((token) => Number.isInteger(token))) {
    throw new GriffinError("invalid_argument", `${file} must hold a JSON array of token ids, such as [2, 15, 7].`);
  }
  return value;
}

async function wasmScorer(folder: string, tokens: readonly number[], options: LogitsOptions): Promise<Scorer> {
  const chunkTokens = Math.min(options.chunk ?? defaultChunkTokens, Math.max(tokens.length, 1));
  const { memory, threads } = options;
  const sizes = { chunkTokens, logitsTokens: chunkTokens, memoryLimitBytes: memory };
  const engine = await loadEngine(folder, { ...sizes, threads });
  const layout = engine.instance.stateLayout;
  return {
    vocabSize: engine.config.vocabSize,
    layout,
    async score(sequence, take) {
      const chunks = engine.score(sequence);
      let next = await chunks.next();
      for (; !next.done; next = await chunks.next()) await take(next.value);
      const state = next.value;
      return layout.entries.map((entry) => entryValues(state, entry));
    },
    close: () => Promise.resolve(),
  };
}

async function onnxScorer(folder: string, tokens: readonly number[], options: LogitsOptions): Promise<Scorer> {
  const checkpoint = await readCheckpoint(folder);
  const { config, manifest } = checkpoint;
  const weightBytes = manifest.files[weightsFile].bytes;
  if (weightBytes > (options.memory ?? Infinity)) {
    throw new GriffinError(
      "model_too_large",
      `ONNX Runtime needs more than the ${weightBytes} bytes of the model's weights, but ${options.memory} are allowed.`,
    );
  }
  const { createOnnxSession } = await import("./onnx.ts");
  const runner = await createOnnxSession(checkpoint.graph, await checkpoint.readWeights());
  const layout = stateLayout(config, manifest.kv);
  const chunkTokens = options.chunk ?? Math.max(tokens.length, 1);
  return {
    vocabSize: config.vocabSize,
    layout,
    async score(sequence, take) {
      let state = runner.emptyState;
      for (let read = 0; read < sequence.length; read += chunkTokens) {
        const pass = await runner.run(sequence.slice(read, read + chunkTokens), read, state);
        state = pass.state;
        await take(pass.logits);
      }
      return layout.entries.map(({ name }) => state.get(name) ?? new Float32Array());
    },
    close: () => runner.close(),
  };
}

/**
 * An origin tells the logits of a prompt's last token alone: each position is the last one of a prompt. Prompts begin with
 * the state at the beginning of their chunk, so that chunks of one token show decoding, and longer ones how it reads.
 */
async function originScorer(folder: string, tokens: readonly number[], options: LogitsOptions): Promise<Scorer> {
  const { url } = options;
  if (url === undefined) throw new GriffinError("invalid_argument", "Where is the origin? Say --url https://…");
  const key = process.env["GRIFFIN_ORIGIN_KEY"];
  const origin = await OriginEngine.open(openFolder(folder), { url, key, createHash: nodeHash });
  const { config, manifest } = origin;
  const layout = stateLayout(config, manifest.kv);
  const chunkTokens = Math.min(options.chunk ?? defaultChunkTokens, Math.max(tokens.length, 1));
  return {
    vocabSize: config.vocabSize,
    layout,
    async score(sequence, take) {
      let state = emptyState(layout);
      for (let read = 0; read < sequence.length; read += chunkTokens) {
        const chunk = sequence.slice(read, read + chunkTokens);
        let after = state;
        for (let end = 1; end <= chunk.length; end++) {
          const { logits, state: next } = await origin.prefill(chunk.slice(0, end), state);
          if (logits !== null) await take(logits);
          after = next;
        }
        state = after;
      }
      return layout.entries.map((entry) => entryValues(state, entry));
    },
    close: () => Promise.resolve(),
  };
}

const scorers = { wasm: wasmScorer, onnx: onnxScorer, origin: originScorer };
