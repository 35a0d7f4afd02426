// griffin logits: the model's numbers for a token sequence, from our kernels or from onnxruntime-web, as safetensors.
import { open, readFile, rm, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { graphFile } from "../checkpoint/manifest.ts";
import { encodeHeader } from "../checkpoint/safetensors.ts";
import { GriffinError } from "../errors.ts";
import { weightsFile } from "../model/graph.ts";
import { parseJson } from "../model/parse-json.ts";
import { entryValues, stateLayout, type StateLayout } from "../model/state.ts";
import { checkPrompt } from "../model/tokens.ts";
import { loadEngine, readCheckpoint } from "./engine.ts";

export interface LogitsOptions {
  tokens: string;
  out: string;
  engine: "wasm" | "onnx";
  chunk?: number;
  states?: boolean;
  memory?: number;
}

/** The values of every state entry, in the layout's order. */
type StateValues = readonly Float32Array[];

/** Logits [n, V] chunk by chunk, then the state after the last token. */
interface Scores {
  vocabSize: number;
  layout: StateLayout;
  chunks: AsyncGenerator<Float32Array, StateValues, undefined>;
}

const defaultChunkTokens = 64;

/** Writes `logits` [T, V] f32 and, if asked, the entries of the state as `state.{T}.layers.{i}.…`. */
export async function writeLogits(folder: string, options: LogitsOptions): Promise<void> {
  const tokens = await readTokens(options.tokens);
  const scores = await (options.engine === "onnx"
    ? scoreWithOnnx(folder, tokens, options)
    : scoreWithWasm(folder, tokens, options));
  const { vocabSize, layout, chunks } = scores;
  const states = options.states ? layout.entries : [];
  const header = encodeHeader([
    { name: "logits", dtype: "F32", shape: [tokens.length, vocabSize] },
    ...states.map(({ name, shape }) => ({ name: `state.${tokens.length}.${name}`, dtype: "F32" as const, shape })),
  ]);

  let file: FileHandle | undefined;
  try {
    let next = await chunks.next();
    file = await open(options.out, "w");
    await file.write(header.bytes);
    for (; !next.done; next = await chunks.next()) await file.write(bytesOf(next.value));
    for (const values of options.states ? next.value : []) await file.write(bytesOf(values));
    await file.close();
  } catch (error) {
    await file?.close();
    if (file) await rm(options.out, { force: true });
    throw error;
  }
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

async function readTokens(file: string): Promise<number[]> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new GriffinError("not_found", `Cannot read ${file}.`, { cause });
  });
  const value = parseJson(text, file, "invalid_argument");
  if (!Array.isArray(value) || !value.every((token) => Number.isInteger(token))) {
    throw new GriffinError("invalid_argument", `${file} must hold a JSON array of token ids, such as [2, 15, 7].`);
  }
  return value;
}

async function scoreWithWasm(folder: string, tokens: number[], options: LogitsOptions): Promise<Scores> {
  const chunkTokens = Math.min(options.chunk ?? defaultChunkTokens, Math.max(tokens.length, 1));
  const engine = await loadEngine(folder, { chunkTokens, logitsTokens: chunkTokens, memoryLimitBytes: options.memory });
  const layout = engine.instance.stateLayout;
  async function* chunks() {
    const state = yield* engine.score(tokens);
    return layout.entries.map((entry) => entryValues(state, entry));
  }
  return { vocabSize: engine.config.vocabSize, layout, chunks: chunks() };
}

async function scoreWithOnnx(folder: string, tokens: number[], options: LogitsOptions): Promise<Scores> {
  const { config, manifest } = await readCheckpoint(folder);
  checkPrompt(tokens, config.vocabSize);
  const layout = stateLayout(config, manifest.kv);
  const { createOnnxSession } = await import("./onnx.ts");
  const [graph, weights] = await Promise.all([graphFile, weightsFile].map((name) => readFile(path.join(folder, name))));
  if (graph === undefined || weights === undefined)
    throw new GriffinError("not_found", `${folder} is no checkpoint folder.`);
  const runner = await createOnnxSession(graph, weights);
  const chunkTokens = options.chunk ?? Math.max(tokens.length, 1);
  async function* chunks() {
    let state = runner.emptyState;
    for (let read = 0; read < tokens.length; read += chunkTokens) {
      const pass = await runner.run(tokens.slice(read, read + chunkTokens), read, state);
      state = pass.state;
      yield pass.logits;
    }
    await runner.close();
    return layout.entries.map(({ name }) => state.get(name) ?? new Float32Array());
  }
  return { vocabSize: config.vocabSize, layout, chunks: chunks() };
}
