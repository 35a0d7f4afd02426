// llama.cpp through node-llama-cpp: native code with AVX-512 and threads, on a Llama of as many weights as our Griffin
// (gguf.ts). It is the peer for what a transformer costs, whose cache grows where our state does not.
import path from "node:path";
import { pathToFileURL } from "node:url";
import { historyTokens, sampleTokens } from "../engine/drive.ts";
import { promptTokens, type Subject } from "../engine/subject.ts";
import { cacheFolder } from "../models.ts";
import { ggufFile, llama as sizes, type LlamaFormat } from "./gguf.ts";
import { peerPath } from "./install.ts";

/** What is used of node-llama-cpp, which is not there when types are checked. */
interface NodeLlamaCpp {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{ createContext(options: object): Promise<Context> }>;
  }>;
}
interface Context {
  getSequence(): Sequence;
  dispose(): Promise<void>;
}
interface Sequence {
  nextTokenIndex: number;
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number, void, undefined>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  eraseContextTokenRanges(ranges: { start: number; end: number }[]): Promise<void>;
  clearHistory(): Promise<void>;
  saveStateToFile(file: string): Promise<unknown>;
  loadStateFromFile(file: string, options: { acceptRisk: true }): Promise<unknown>;
}

/** A model in llama.cpp; its prompt is read without logits, which it only makes where it samples. */
export async function llamaCpp(
  format: LlamaFormat,
  threads: number,
  history = historyTokens,
  name = `llama.cpp ${format} (a Llama), ${threads === 1 ? "1 thread" : `${threads} threads`}`,
): Promise<Subject> {
  const { getLlama } = (await import(pathToFileURL(peerPath("node-llama-cpp/dist/index.js")).href)) as NodeLlamaCpp;
  const runtime = await getLlama({
    build: "never",
    skipDownload: true,
    gpu: false,
    logLevel: "error",
    maxThreads: threads,
  });
  const model = await runtime.loadModel({ modelPath: await ggufFile(format), gpuLayers: 0 });
  const context = (contextSize: number) => model.createContext({ contextSize, threads, batchSize: 512, sequences: 1 });
  const [decoding, reading] = [await context(history + 4096), await context(512)];
  const sequence = decoding.getSequence();
  await sequence.evaluateWithoutGeneratingNewTokens(sampleTokens(sizes.vocabSize, history));
  const stateFile = path.join(cacheFolder, "gguf", `${format}-${history}.state`);
  await sequence.saveStateToFile(stateFile);
  const prompt = sampleTokens(sizes.vocabSize, promptTokens);
  const fresh = reading.getSequence();
  const generate = () => {
    const reply = sequence.evaluate([5], { temperature: 0, yieldEogToken: true });
    return { next: () => reply.next(), end: () => reply.return() };
  };
  return {
    name,
    async begin() {
      await sequence.eraseContextTokenRanges([{ start: history, end: sequence.nextTokenIndex }]);
      return generate();
    },
    async prefill() {
      await fresh.clearHistory();
      await fresh.evaluateWithoutGeneratingNewTokens(prompt);
    },
    async resume() {
      await sequence.loadStateFromFile(stateFile, { acceptRisk: true });
      return generate();
    },
    async close() {
      await decoding.dispose();
      await reading.dispose();
    },
  };
}
