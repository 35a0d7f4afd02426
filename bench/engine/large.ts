// RecurrentGemma-2B's shapes in int4, and what a model of 52 M parameters takes of an isolate's memory. A token of the 2B
// reads every weight once, so it is shown as a share of reading memory.
import type { EdgeEngine } from "../../src/engine/edge.ts";
import { chunkTokensFor } from "../../src/engine/instance.ts";
import { emptyState } from "../../src/model/state.ts";
import { memoryCeiling } from "../ceilings.ts";
import { named, shareOf, type Figure } from "../figure.ts";
import type { Section } from "../report.ts";
import { interleave, secondsOf, type Contender } from "../rounds.ts";
import { sampleTokens } from "./drive.ts";
import { decoding, griffinFrom, loadModel, longChunkTokens } from "./subject.ts";

const promptTokens = 64;
const tokensBefore = 1_000;

export async function measureLarge(): Promise<Section[]> {
  const engine = await loadModel("2B", "int4", { chunkTokens: longChunkTokens });
  const { instance, config, manifest } = engine;
  const [slotPtr = 0] = instance.layout.slots;
  // What a state holds does not change how long it takes, and reading so many tokens would take a minute.
  const state = { ...emptyState(instance.stateLayout), position: tokensBefore };
  const subject = griffinFrom("decode", engine, state);
  const prompt = sampleTokens(config.vocabSize, promptTokens);
  const read = await memoryCeiling();
  const reading = { name: read.name, unit: "GB/s", measure: () => read.work / secondsOf(read.call) / 1e9 };
  const prefilling = (chunkTokens: number): Contender => ({
    name: `prefill of ${promptTokens} tokens, ${chunkTokens} at once`,
    unit: "tokens/s",
    measure() {
      const startMs = performance.now();
      for (let at = 0; at < promptTokens; at += chunkTokens)
        instance.forward(slotPtr, prompt.slice(at, at + chunkTokens), at, "none");
      const seconds = (performance.now() - startMs) / 1000;
      instance.clear(slotPtr);
      return promptTokens / seconds;
    },
  });
  const [long, served] = [prefilling(longChunkTokens), prefilling(chunkTokensFor(manifest))];
  const figures = await interleave([decoding(subject), long, served, reading]);
  const weightBytes = slotPtr;
  const decoded = named(figures, "decode");
  const readLong = named(figures, long.name);
  const readServed = named(figures, served.name);
  const ceiling = named(figures, read.name).values;
  const share = decoded.values.map((rate, round) => (rate * weightBytes) / 1e9 / (ceiling[round] ?? NaN));
  return [
    {
      title: `RecurrentGemma-2B's shapes, int4; decode after ${tokensBefore} tokens`,
      figures: [
        { ...decoded, shares: [{ of: "of reading its weights from memory", values: share }] },
        readLong,
        { ...readServed, shares: [shareOf(readServed, readLong, `of ${longChunkTokens} at once`)] },
        named(figures, reading.name),
        memoryOf("2B", "int4", engine),
      ],
    },
    { title: "Memory", figures: [memoryOf("52M", "int8", await loadModel("52M", "int8"))] },
  ];
}

const memoryOf = (model: string, format: string, engine: EdgeEngine): Figure => ({
  name: `WASM memory of the ${model} model in ${format}`,
  unit: "bytes",
  values: [memoryBytes(engine)],
});

/** What the WASM memory of a loaded model takes. */
export function memoryBytes({ instance }: EdgeEngine): number {
  const [slotPtr = 0] = instance.layout.slots;
  // Logits are a view of that memory.
  const { buffer } = instance.forward(slotPtr, [5], 0, "last");
  instance.clear(slotPtr);
  return buffer.byteLength;
}
