// RecurrentGemma-2B's shapes in int4, and what a model of 52 M parameters takes of an isolate's memory. A token of the 2B
// reads every weight once, so it is shown as a share of reading memory.
import { ceilings } from "../ceilings.ts";
import { named, type Figure } from "../figure.ts";
import type { Section } from "../report.ts";
import { interleave, secondsOf } from "../rounds.ts";
import { sampleTokens, stateAfter } from "./drive.ts";
import { decoding, griffinFrom, loadModel } from "./subject.ts";

const promptTokens = 64;
const shortHistoryTokens = 16;

export async function measureLarge(): Promise<Section[]> {
  const engine = await loadModel("2B", "int4");
  const { instance, config } = engine;
  const subject = griffinFrom("decode", engine, await stateAfter(engine, shortHistoryTokens));
  const prompt = sampleTokens(config.vocabSize, promptTokens);
  const read = (await ceilings()).find(({ name }) => name === "read memory");
  if (read === undefined) throw new Error("There is no ceiling of reading memory.");
  const reading = { name: "read memory", unit: "GB/s", measure: () => read.work / secondsOf(read.call) / 1e9 };
  const prefill = {
    name: `prefill of ${promptTokens} tokens`,
    unit: "tokens/s",
    async measure() {
      const startMs = performance.now();
      await engine.generate({ tokens: prompt, maxTokens: 0 }).next();
      return promptTokens / ((performance.now() - startMs) / 1000);
    },
  };
  const figures = await interleave([decoding(subject), prefill, reading]);
  const weightBytes = instance.layout.slots[0] ?? 0;
  const decoded = named(figures, "decode");
  const ceiling = named(figures, "read memory").values;
  const share = decoded.values.map((rate, round) => (rate * weightBytes) / 1e9 / (ceiling[round] ?? NaN));
  return [
    {
      title: "RecurrentGemma-2B's shapes, int4",
      figures: [
        { ...decoded, shares: [{ of: "of reading its weights from memory", values: share }] },
        ...figures.filter((figure) => figure !== decoded),
        await memoryOf("2B", "int4", engine),
      ],
    },
    { title: "Memory", figures: [await memoryOf("52M", "int8", await loadModel("52M", "int8"))] },
  ];
}

/** What the WASM memory of a loaded model takes. */
async function memoryOf(
  model: string,
  format: string,
  { instance }: Awaited<ReturnType<typeof loadModel>>,
): Promise<Figure> {
  const [slotPtr = 0] = instance.layout.slots;
  // Logits are a view of that memory.
  const { buffer } = instance.forward(slotPtr, [5], 0, "last");
  instance.clear(slotPtr);
  return { name: `WASM memory of the ${model} model in ${format}`, unit: "bytes", values: [buffer.byteLength] };
}
