// Runs a graph.onnx through onnxruntime-web: function bodies instead of our kernels, so an independent engine to check
// ours against, and the same file in a browser. WASM on one thread; the weights lie in memory, nothing is fetched.
import { env, InferenceSession, Tensor } from "onnxruntime-web";
import { type ErrorCode, GriffinError } from "../errors.ts";
import { readGraph, weightsFile } from "../model/graph.ts";
import { decodeModel } from "../model/onnx.ts";

/** The values of a graph's state inputs by name, in f32. */
export type OnnxState = ReadonlyMap<string, Float32Array>;

/** A graph loaded into ONNX Runtime. */
export interface OnnxRunner {
  /** The state of a conversation that has read nothing. */
  emptyState: OnnxState;
  /** Reads tokens at positions `position`, `position + 1`, …; logits [T, V] of each, and the state after the last. */
  run(
    tokens: ArrayLike<number>,
    position: number,
    state: OnnxState,
  ): Promise<{ logits: Float32Array; state: OnnxState }>;
  /** Frees the session's memory. Never fails, so it hides no other error. */
  close(): Promise<void>;
}

/**
 * Loads the bytes of `graph.onnx` and of the `weights.safetensors` it points into.
 * @throws GriffinError `invalid_graph` where ONNX Runtime refuses the graph; `internal` where a run fails
 */
export async function createOnnxSession(graphBytes: Uint8Array, weightsBytes: Uint8Array): Promise<OnnxRunner> {
  const graph = readGraph(decodeModel(graphBytes));
  const states = graph.inputs.flatMap(({ name, shape }) =>
    name === "tokens" || name === "pos" ? [] : [{ name, dims: shape.map(Number) }],
  );
  env.wasm.numThreads = 1;
  const session = await InferenceSession.create(graphBytes, {
    executionProviders: ["wasm"],
    externalData: [{ path: weightsFile, data: weightsBytes }],
    logSeverityLevel: 4, // errors are thrown too; fatal ones alone are worth a line of their own
  }).catch((cause: unknown) => {
    throw runtimeError("invalid_graph", "cannot load graph.onnx", cause);
  });
  return {
    emptyState: new Map(states.map(({ name, dims }) => [name, new Float32Array(dims.reduce((a, b) => a * b, 1))])),
    run: async (tokens, position, state) => {
      const length = tokens.length;
      const feeds: Record<string, Tensor> = {
        tokens: new Tensor("int32", Int32Array.from(tokens), [length]),
        pos: new Tensor(
          "int32",
          Int32Array.from({ length }, (_, t) => position + t),
          [length],
        ),
      };
      for (const { name, dims } of states) {
        const values = state.get(name);
        if (values === undefined) throw new GriffinError("invalid_state", `The state has no "${name}".`);
        feeds[name] = new Tensor("float32", values, dims);
      }
      const results = await session.run(feeds).catch((cause: unknown) => {
        throw runtimeError("internal", `failed at position ${position}`, cause);
      });
      const floats = (name: string): Float32Array => {
        const data = results[name]?.data;
        if (!(data instanceof Float32Array)) {
          throw new GriffinError("internal", `ONNX Runtime gave no f32 output "${name}".`);
        }
        return data;
      };
      return { logits: floats("logits"), state: new Map(states.map(({ name }) => [name, floats(`${name}.out`)])) };
    },
    close: () => session.release().catch(() => undefined),
  };
}

/** ONNX Runtime throws errors of several lines, and bare numbers when its memory is full. */
function runtimeError(code: ErrorCode, what: string, cause: unknown): GriffinError {
  const [reason] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
  return new GriffinError(code, `ONNX Runtime ${what}: ${reason}`, { cause });
}
