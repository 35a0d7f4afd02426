// What quantisation costs in quality: pocket in every format on dialogues it was not trained on. Everything is computed
// by our own kernels, bit for bit the same on every machine, so these figures only change with the code.
//
// data/held-out.jsonl: 120 dialogues, [message, reply] pairs, drawn by the generator of the training data (see the card)
// from Python's random.seed(20261125), by turns recall_dialogue() and dialogue(12). Training drew from seed 0 and, when
// it was resumed, from the step's number: no dialogue was seen in training, though short replies repeat in any of them.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { convert } from "../src/checkpoint/convert.ts";
import { kernelModule } from "./module.ts";
import { folderSource } from "../src/cli/files.ts";
import { EdgeEngine } from "../src/engine/edge.ts";
import { renderPrompt } from "../src/model/chat-template.ts";
import type { State } from "../src/model/state.ts";
import { formats, type Format } from "../src/model/weights.ts";
import { opener, target, type Folder } from "../test/checkpoint/folders.ts";

type Dialogue = [message: string, reply: string][];

/** Of one format; all but `bytes` and `perplexity` against f32. */
export interface Quality {
  format: Format;
  /** Of weights.safetensors. */
  bytes: number;
  /** Of the replies' tokens, the end of each turn included. */
  perplexity: number;
  /** Mean of Σ p · (log p − log q) over the replies' tokens, in nats; p is f32's. */
  divergence: number;
  /** Share of the replies' tokens at which the likeliest one is f32's. */
  sameToken: number;
  /** Share of last replies, generated greedily, that are f32's to the letter. */
  sameReply: number;
  /** Share of last replies that are the dialogue's to the letter. */
  rightReply: number;
}

const root = path.resolve(import.meta.dirname, "..");

/** The dialogues, the first ones where a number is given. */
export async function heldOut(count?: number): Promise<Dialogue[]> {
  const text = await readFile(path.join(root, "bench/data/held-out.jsonl"), "utf8");
  const lines = text.trimEnd().split("\n").slice(0, count);
  return lines.map((line) => JSON.parse(line) as Dialogue);
}

/** Measures every format on the same dialogues. */
export async function measureQuality(dialogues: readonly Dialogue[]): Promise<Quality[]> {
  const engines = await Promise.all(formats.map(loadPocket));
  const sums = engines.map(() => ({ loss: 0, divergence: 0, sameToken: 0, sameReply: 0, rightReply: 0 }));
  let replyTokens = 0;
  for (const dialogue of dialogues) {
    const answers = await Promise.all(engines.map(({ engine }) => answer(dialogue, engine)));
    const [exact] = answers;
    replyTokens += exact!.said.length;
    for (const [i, sum] of sums.entries()) {
      const { said, lastReply } = answers[i]!;
      for (const [t, { after, row: q }] of said.entries()) {
        const p = exact!.said[t]!.row;
        sum.loss -= q[after]!;
        for (let token = 0; token < p.length; token++) sum.divergence += Math.exp(p[token]!) * (p[token]! - q[token]!);
        sum.sameToken += Number(likeliest(p) === likeliest(q));
      }
      sum.sameReply += Number(lastReply === exact!.lastReply);
      sum.rightReply += Number(lastReply === dialogue.at(-1)![1]);
    }
  }
  return engines.map(({ format, bytes }, i) => {
    const { loss, divergence, sameToken, sameReply, rightReply } = sums[i]!;
    return {
      format,
      bytes,
      perplexity: Math.exp(loss / replyTokens),
      divergence: divergence / replyTokens,
      sameToken: sameToken / replyTokens,
      sameReply: sameReply / dialogues.length,
      rightReply: rightReply / dialogues.length,
    };
  });
}

/** The figures as a table of Markdown. */
export function qualityTable(rows: readonly Quality[]): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const lines = rows.map(
    ({ format, bytes, perplexity, divergence, sameToken, sameReply, rightReply }) =>
      `| ${format} | ${(bytes / 1e6).toFixed(2)} MB | ${perplexity.toFixed(4)} | ${divergence.toExponential(1)} | ` +
      `${percent(sameToken)} | ${percent(sameReply)} | ${percent(rightReply)} |`,
  );
  const head = "| format | weights | perplexity | divergence from f32 | same token | same reply | right reply |";
  return [head, "|---|---|---|---|---|---|---|", ...lines].join("\n");
}

async function loadPocket(format: Format) {
  const folder: Folder = new Map();
  await convert(folderSource(path.join(root, "models/pocket")), target(folder), { format });
  const engine = await EdgeEngine.load(await kernelModule(), opener(folder, 2 ** 20), { logitsTokens: 64 });
  return { format, engine, bytes: folder.get("weights.safetensors")!.byteLength };
}

/** What a model makes of a dialogue. */
interface Answer {
  /** At every token of the replies: which one it is, and the log-probabilities [V] of all there. */
  said: { after: number; row: Float64Array }[];
  /** What it says, greedily, where the dialogue has its last reply. */
  lastReply: string;
}

async function answer(dialogue: Dialogue, engine: EdgeEngine): Promise<Answer> {
  const { tokenizer, chat } = engine;
  if (tokenizer === null || chat === null) throw new Error("pocket has a tokenizer and chat tokens");
  const said: Answer["said"] = [];
  let lastReply = "";
  let state: State | undefined;
  let last: number | null = null;
  for (const [message, reply] of dialogue) {
    const prompt = renderPrompt([{ role: "user", content: message }], tokenizer, chat, last);
    const tokens = [...tokenizer.encodeText(reply), chat.endOfTurnTokenId];
    if (message === dialogue.at(-1)![0]) lastReply = await greedyReply(engine, prompt, state);
    const chunks = engine.score([...prompt, ...tokens], { state });
    const { vocabSize } = engine.config;
    let at = 1 - prompt.length; // of the row: how many tokens of the reply it has seen
    let next = await chunks.next();
    for (; !next.done; next = await chunks.next()) {
      for (let from = 0; from < next.value.length; from += vocabSize, at++) {
        const after = tokens[at];
        if (at >= 0 && after !== undefined) {
          said.push({ after, row: logSoftmax(next.value.subarray(from, from + vocabSize)) });
        }
      }
    }
    state = next.value;
    last = chat.endOfTurnTokenId;
  }
  return { said, lastReply };
}

function logSoftmax(logits: Float32Array): Float64Array {
  const max = logits.reduce((most, logit) => Math.max(most, logit));
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  const logSum = max + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - logSum);
}

const likeliest = (row: Float64Array) => row.reduce((best, log, token) => (log > row[best]! ? token : best), 0);

async function greedyReply(engine: EdgeEngine, tokens: number[], state: State | undefined): Promise<string> {
  const events = engine.generate({ tokens, state, maxTokens: 60, sampling: { temperature: 0 } });
  let text = "";
  let next = await events.next();
  for (; !next.done; next = await events.next()) text += next.value.text;
  return text + next.value.text;
}
