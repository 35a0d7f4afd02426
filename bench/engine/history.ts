// What a long history costs: speed after it, and the time to the first token when its state is restored. A Griffin's should
// not change; beside it a transformer of the same size, a Llama in llama.cpp, whose state grows.
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { EdgeEngine } from "../../src/engine/edge.ts";
import { weightsFile } from "../../src/model/graph.ts";
import type { State } from "../../src/model/state.ts";
import { grouped, median, named, shareOf, type Figure } from "../figure.ts";
import { cacheFolder } from "../models.ts";
import { installPeers } from "../peers/install.ts";
import { llamaCpp } from "../peers/llama.ts";
import { plot } from "../plot.ts";
import type { Section } from "../report.ts";
import { interleave } from "../rounds.ts";
import { stateAfter } from "./drive.ts";
import { decoding, griffinFrom, loadModel, resuming, type Subject } from "./subject.ts";

/** Longer than the window. */
const laterTokens = 1_000;
const lengths = [10, 100, 1_000, 10_000, 100_000];
/** A transformer takes minutes to read more. */
const longestForLlama = 10_000;

/** A model whose history may have these lengths. */
interface Line {
  name: string;
  lengths: readonly number[];
}
const griffin: Line = { name: "Griffin int8, Griffin Edge", lengths };
const llama: Line = { name: "Llama Q8_0, llama.cpp", lengths: lengths.filter((tokens) => tokens <= longestForLlama) };
const nameOf = ({ name }: Line, tokens: number) => `${name}, after ${grouped(tokens)} tokens`;

export async function measureHistory(): Promise<Section[]> {
  const missing = installPeers();
  const lines = missing === undefined ? [griffin, llama] : [griffin];
  const subjects = [...(await griffins()), ...(missing === undefined ? await llamas() : [])];
  const rates = await interleave(subjects.map(decoding));
  const waits = await interleave(subjects.map(resuming));
  for (const { close } of subjects) await close?.();
  return [
    section("Speed after a history, 30 M parameters", "tokens-per-second.svg", lines, rates),
    section("From a stored state to the first token, 30 M parameters", "resume.svg", lines, waits),
  ];
}

async function griffins(): Promise<Subject[]> {
  const engine = await loadModel("30M", "int8");
  const subjects: Subject[] = [];
  for (const tokens of griffin.lengths) {
    const file = await keptState(engine, tokens);
    const read = async (): Promise<State> => ({ position: tokens, data: new Uint8Array(await readFile(file)) });
    const subject = griffinFrom(nameOf(griffin, tokens), engine, await read());
    // From its file, as llama.cpp does.
    subjects.push({ ...subject, resume: async () => griffinFrom(subject.name, engine, await read()).begin() });
  }
  return subjects;
}

async function llamas(): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const tokens of llama.lengths) subjects.push(await llamaCpp("Q8_0", 1, tokens, nameOf(llama, tokens)));
  return subjects;
}

/** The file of the state after so many tokens that were really read; kept, because that takes a minute and more. */
async function keptState(engine: EdgeEngine, tokens: number): Promise<string> {
  const { sha256 } = engine.manifest.files[weightsFile];
  const file = path.join(cacheFolder, "states", `${sha256.slice(0, 16)}-${tokens}`);
  if ((await stat(file).catch(() => null)) !== null) return file;
  const { data } = await stateAfter(engine, tokens);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, data);
  return file;
}

/** Every figure as a share of that after the shortest history. */
function besideShortest(lines: readonly Line[], figures: readonly Figure[]): Figure[] {
  return lines.flatMap((line) => {
    const [first, ...rest] = line.lengths.map((tokens) => named(figures, nameOf(line, tokens)));
    if (first === undefined) return [];
    // The first ones are shorter than a window, so they read less; a later one shows what more of a history costs.
    const later = rest.find((figure) => figure.name === nameOf(line, laterTokens));
    return [
      first,
      ...rest.map((figure) => {
        const shares = [shareOf(figure, first, "of the first")];
        if (later !== undefined && figure === rest.at(-1) && figure !== later)
          shares.push(shareOf(figure, later, `of that after ${grouped(laterTokens)}`));
        return { ...figure, shares };
      }),
    ];
  });
}

function section(title: string, file: string, lines: readonly Line[], figures: readonly Figure[]): Section {
  const series = lines.map((line) => ({
    name: line.name,
    points: line.lengths.map((tokens) => [tokens, median(named(figures, nameOf(line, tokens)).values)] as const),
  }));
  const svg = plot({ title, x: "tokens of history", y: figures[0]?.unit ?? "", series });
  return { title, figures: besideShortest(lines, figures), plots: [{ file, svg }] };
}
