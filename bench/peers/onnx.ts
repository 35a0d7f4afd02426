// onnxruntime on the same model: onnxruntime-web, which is WASM as we are, and onnxruntime-node, which is native code with
// AVX-512 and threads. States stay onnxruntime's own tensors from one run to the next, so nothing is copied that need not.
import { readFile } from "node:fs/promises";
import path from "node:path";
import type * as OnnxRuntime from "onnxruntime-web";
import { graphFile } from "../../src/checkpoint/manifest.ts";
import { readGraph, weightsFile } from "../../src/model/graph.ts";
import { decodeModel } from "../../src/model/onnx.ts";
import { historyTokens, sampleTokens } from "../engine/drive.ts";
import { promptTokens, type Subject } from "../engine/subject.ts";
import { checkpointFolder, models, type ModelName } from "../models.ts";
import { loadPeer } from "./install.ts";
import { onnxFolder, type Scheme } from "./onnx-graphs.ts";

type Runtime = Pick<typeof OnnxRuntime, "InferenceSession" | "Tensor">;
type Values = Record<string, OnnxRuntime.Tensor>;

/** The model in onnxruntime-web, on its one thread. */
export async function onnxWeb(model: ModelName, scheme: Scheme): Promise<Subject> {
  const runtime = await import("onnxruntime-web");
  runtime.env.wasm.numThreads = 1;
  const folder = await onnxFolder(model, scheme);
  const session = await runtime.InferenceSession.create(new Uint8Array(await readFile(path.join(folder, graphFile))), {
    executionProviders: ["wasm"],
    externalData: [{ path: weightsFile, data: new Uint8Array(await readFile(path.join(folder, weightsFile))) }],
    logSeverityLevel: 3,
  });
  return subject(`onnxruntime-web ${scheme}`, model, runtime, session);
}

/** The model in onnxruntime-node. */
export async function onnxNode(model: ModelName, scheme: Scheme, threads: number): Promise<Subject> {
  const runtime = loadPeer<Runtime>("onnxruntime-node");
  const session = await runtime.InferenceSession.create(path.join(await onnxFolder(model, scheme), graphFile), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // Threads wait for the next run asleep, or they would take the cores from whoever is measured next.
    extra: { session: { force_spinning_stop: "1" } },
    logSeverityLevel: 3,
  });
  return subject(
    `onnxruntime-node ${scheme}, ${threads === 1 ? "1 thread" : `${threads} threads`}`,
    model,
    runtime,
    session,
  );
}

async function subject(
  name: string,
  model: ModelName,
  { Tensor }: Runtime,
  session: OnnxRuntime.InferenceSession,
): Promise<Subject> {
  const graph = readGraph(decodeModel(await readFile(path.join(await checkpointFolder(model, "f32"), graphFile))));
  const states = graph.inputs.filter((input) => input.name !== "tokens" && input.name !== "pos");
  const vocabSize = models[model]?.vocabSize ?? 0;
  const empty = Object.fromEntries(
    states.map(({ name: state, shape }) => {
      const dims = shape.map(Number);
      return [state, new Tensor("float32", new Float32Array(dims.reduce((a, b) => a * b, 1)), dims)];
    }),
  );
  const run = async (tokens: readonly number[], position: number, state: Values) => {
    const ids = new Tensor("int32", Int32Array.from(tokens), [tokens.length]);
    const pos = new Tensor(
      "int32",
      Int32Array.from(tokens, (_, t) => position + t),
      [tokens.length],
    );
    const results = await session.run({ tokens: ids, pos, ...state });
    const after: Values = {};
    for (const { name: each } of states) after[each] = results[`${each}.out`] as OnnxRuntime.Tensor;
    return { logits: results["logits"]?.data as Float32Array, state: after };
  };
  const history = sampleTokens(vocabSize, historyTokens);
  const { state: start } = await run(history, 0, empty);
  const prompt = sampleTokens(vocabSize, promptTokens);
  return {
    name,
    async begin() {
      let [token, position, state] = [5, historyTokens, start];
      return {
        async next() {
          const pass = await run([token], position++, state);
          state = pass.state;
          token = likeliest(pass.logits);
        },
        end: () => Promise.resolve(),
      };
    },
    prefill: async () => void (await run(prompt, 0, empty)),
    close: () => session.release(),
  };
}

function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let token = 1; token < logits.length; token++) {
    if ((logits[token] ?? 0) > (logits[best] ?? 0)) best = token;
  }
  return best;
}
