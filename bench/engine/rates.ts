// Decode and prefill of whole models: pocket in every format, and the 30 M Griffin beside its peers on the same weights.
import { median, named, shareOf, type Figure } from "../figure.ts";
import { formats, type Format } from "../../src/model/weights.ts";
import { installPeers } from "../peers/install.ts";
import { llamaCpp } from "../peers/llama.ts";
import { onnxNode, onnxWeb } from "../peers/onnx.ts";
import type { Section } from "../report.ts";
import { interleave } from "../rounds.ts";
import { historyTokens, stateAfter } from "./drive.ts";
import {
  decoding,
  griffin,
  griffinFrom,
  loadModel,
  longChunkTokens,
  prefilling,
  promptTokens,
  type Subject,
} from "./subject.ts";

/** A subject, and which of ours it stands beside: its format, and its threads where it has several. */
type Row = readonly [Subject, beside: string | null];

export async function measureRates(): Promise<Section[]> {
  const pocket: Row[] = [];
  for (const format of formats) pocket.push([await griffin("pocket", format), null]);
  const small: Row[] = [];
  for (const format of formats) small.push([await griffin("30M", format), null]);
  for (const format of formats) small.push([await griffin("30M", format, 2), format]);
  const missing = installPeers();
  small.push(...(await webPeers()), ...(missing === undefined ? await nativePeers() : []));
  const sections = [
    ...(await compare("pocket", pocket)),
    ...(await compare("30 M parameters", small, [await asServed()])),
  ];
  for (const [{ close }] of small) await close?.();
  return missing === undefined ? sections : [...sections, { title: "Native peers", figures: [], notes: [missing] }];
}

/** Ours as a server reads prompts: in chunks that leave other chats their turn. */
async function asServed(): Promise<Row> {
  const engine = await loadModel("30M", "int8", { logitsTokens: longChunkTokens });
  const name = `Griffin Edge int8, in chunks of ${engine.instance.chunkTokens} as servers do`;
  return [griffinFrom(name, engine, await stateAfter(engine, historyTokens)), "int8"];
}

async function webPeers(): Promise<Row[]> {
  return [
    [await onnxWeb("30M", "f32"), "f32"],
    [await onnxWeb("30M", "dynamic int8"), "int8"],
  ];
}

async function nativePeers(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const threads of [1, 2]) {
    const beside = (format: Format) => (threads === 1 ? format : `${format}, ${threads} threads`);
    rows.push(
      [await onnxNode("30M", "f32", threads), beside("f32")],
      [await onnxNode("30M", "dynamic int8", threads), beside("int8")],
      [await onnxNode("30M", "MatMulNBits int8", threads), beside("int8")],
      [await onnxNode("30M", "MatMulNBits int4", threads), beside("int4")],
      [await llamaCpp("Q8_0", threads), beside("int8")],
      [await llamaCpp("Q4_0", threads), beside("int4")],
    );
  }
  return rows;
}

/** Peers of which we say how much faster than the best of them we are, and which of ours says it. */
const rivals: readonly { peers: RegExp; ours: readonly Format[]; name: string }[] = [
  { peers: /^onnxruntime-web/, ours: ["int8", "int4"], name: "onnxruntime-web's best" },
  { peers: /^onnxruntime-node.*, 1 thread$/, ours: ["int8", "int4"], name: "onnxruntime-node's best on 1 thread" },
];

/** Ours, as multiples of their rivals' best. */
function besideRivals(figures: readonly Figure[]): Figure[] {
  return figures.map((figure) => {
    const shares = rivals.flatMap(({ peers, ours, name }) => {
      const theirs = figures.filter((each) => peers.test(each.name));
      const [best] = theirs.toSorted((a, b) => median(b.values) - median(a.values));
      const isOurs = ours.some((format) => figure.name === `Griffin Edge ${format}`);
      return best !== undefined && isOurs ? [shareOf(figure, best, `× ${name}`)] : [];
    });
    return { ...figure, shares: [...(figure.shares ?? []), ...shares] };
  });
}

/** Decode of `rows`; prefill of these and of `readers`. */
async function compare(model: string, rows: readonly Row[], readers: readonly Row[] = []): Promise<Section[]> {
  const all = [...rows, ...readers];
  const beside = (figures: readonly Figure[]) =>
    figures.map((figure, i) => {
      const ours = all[i]?.[1] ?? null;
      if (ours === null) return figure;
      return { ...figure, shares: [shareOf(figure, named(figures, `Griffin Edge ${ours}`), `of ours in ${ours}`)] };
    });
  const decoded = await interleave(rows.map(([subject]) => decoding(subject)));
  const read = await interleave(all.map(([subject]) => prefilling(subject)));
  return [
    { title: `Decode, ${model}, after ${historyTokens} tokens`, figures: besideRivals(beside(decoded)) },
    { title: `Prefill, ${model}, ${promptTokens} tokens with the logits of all`, figures: besideRivals(beside(read)) },
  ];
}
