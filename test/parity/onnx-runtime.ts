// Test models as checkpoint bytes for ONNX Runtime: the weights of a Config put into one weights.safetensors, in f32 or
// bf16, and the graph that points into it. Independent of src/checkpoint, which has a test of its own against this.
import { createOnnxSession, type OnnxRunner } from "../../src/cli/onnx.ts";
import { buildGraph } from "../../src/model/build-graph.ts";
import type { Config } from "../../src/model/config.ts";
import type { StoredTensor } from "../../src/model/graph.ts";
import { encodeModel } from "../../src/model/onnx.ts";
import type { KvDtype } from "../../src/model/state.ts";
import { weightSpecs } from "../../src/model/weights.ts";
import type { Tensors } from "../reference/safetensors.ts";

export interface CheckpointBytes {
  graph: Uint8Array;
  weights: Uint8Array;
}

/** The graph and weights of a model; `tensors` go by Hugging Face's names without `model.`, in its shapes. */
export function checkpointBytes(
  config: Config,
  tensors: Tensors,
  format: "f32" | "bf16",
  kv: KvDtype = "f32",
): CheckpointBytes {
  const header: Record<string, unknown> = {};
  const stored = new Map<string, StoredTensor>();
  const data: Uint8Array[] = [];
  let offsetBytes = 0;
  for (const { name, shape, matrix } of weightSpecs(config)) {
    const dtype = matrix ? format : "f32";
    const values = elements(name, tensors.get(name)!, config.lruWidth);
    const bits = new Uint32Array(values.buffer);
    // Test weights are bfloat16 already: dropping the low half is exact.
    const bytes = new Uint8Array(dtype === "f32" ? bits.buffer : Uint16Array.from(bits, (word) => word >>> 16).buffer);
    stored.set(name, { dtype, shape, offsetBytes, lengthBytes: bytes.length });
    header[name] = {
      dtype: dtype.toUpperCase(),
      shape,
      data_offsets: [offsetBytes, offsetBytes + bytes.length],
    };
    data.push(bytes);
    offsetBytes += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const start = Math.ceil((8 + json.length) / 64) * 64;
  const head = Buffer.alloc(start, " ");
  head.writeBigUInt64LE(BigInt(start - 8));
  json.copy(head, 8);
  const weights = (name: string) => {
    const tensor = stored.get(name)!;
    return { ...tensor, offsetBytes: start + tensor.offsetBytes };
  };
  return { graph: encodeModel(buildGraph(config, { kv, format, weights })), weights: Buffer.concat([head, ...data]) };
}

/** Values as stored: only the convolution differs from Hugging Face, [R, 1, 4] there and [4, R] here. */
function elements(name: string, values: Float32Array, R: number): Float32Array {
  if (!name.endsWith("conv_1d.weight")) return values;
  return Float32Array.from(values, (_, i) => values[(i % R) * 4 + Math.floor(i / R)]!);
}

/** Runs `tokens` through a fresh state in calls of the given sizes, the last repeated. Logits of all, and the state. */
export async function runInChunks(runner: OnnxRunner, tokens: Int32Array, sizes: readonly number[]) {
  const logits: number[][] = [];
  let state = runner.emptyState;
  let at = 0;
  for (let i = 0; at < tokens.length; i++) {
    const chunk = tokens.subarray(at, at + sizes[Math.min(i, sizes.length - 1)]!);
    const result = await runner.run(chunk, at, state);
    const V = result.logits.length / chunk.length;
    for (let t = 0; t < chunk.length; t++) logits.push(Array.from(result.logits.subarray(t * V, (t + 1) * V)));
    state = result.state;
    at += chunk.length;
  }
  return { logits: Float32Array.from(logits.flat()), state };
}

/** A session over a test model. */
export function openSession({ graph, weights }: CheckpointBytes): Promise<OnnxRunner> {
  return createOnnxSession(graph, weights);
}

/** The largest absolute difference; Infinity if lengths differ or a value is not finite. */
export function maxError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!);
    if (!(error <= worst)) worst = Number.isNaN(error) ? Infinity : error;
  }
  return worst;
}
