// Figures as people and programs read them: Markdown tables, JSON, and the results between two markers of README.md.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { best, grouped, median, quantile, type Figure } from "./figure.ts";
import { summary, type Machine } from "./machine.ts";

/** Figures that belong together: those of one section were measured in turn. */
export interface Section {
  title: string;
  figures: readonly Figure[];
  /** What was left out and why, or what a reader must know. */
  notes?: readonly string[];
  plots?: readonly { file: string; svg: string }[];
}

const markers = ["<!-- results -->", "<!-- /results -->"] as const;

/** All sections as Markdown. */
export function markdown(sections: readonly Section[], machine: Machine, command: string): string {
  return [...sections.map(sectionText), `${summary(machine)}; \`${command}\``].join("\n\n");
}

function sectionText({ title, figures, notes = [], plots = [] }: Section): string {
  const head = "| figure | best | median | middle half | rounds | compared |\n|---|---|---|---|---|---|";
  const table = figures.length === 0 ? [] : [[head, ...figures.map(rowOf)].join("\n")];
  const images = plots.map(({ file }) => `![${title}](results/${file})`);
  return [`### ${title}`, ...table, ...images, ...notes].join("\n\n");
}

function rowOf(figure: Figure): string {
  const { name, unit, values, shares = [] } = figure;
  const [low, high] = [grouped(quantile(values, 0.25)), grouped(quantile(values, 0.75))];
  const compared = shares.map((share) => `${grouped(median(share.values))} ${share.of}`).join(", ");
  const cells = [
    name,
    grouped(best(figure)),
    `${grouped(median(values))} ${unit}`,
    low === high ? "" : `${low} – ${high}`,
  ];
  return `| ${[...cells, values.length, compared].join(" | ")} |`;
}

/** Everything, every round's value included. */
export function json(sections: readonly Section[], machine: Machine): string {
  const described = sections.map(({ title, notes, figures }) => ({
    title,
    notes,
    figures: figures.map((figure) => ({
      ...figure,
      best: best(figure),
      median: median(figure.values),
      middleHalf: [quantile(figure.values, 0.25), quantile(figure.values, 0.75)],
      shares: figure.shares?.map((share) => ({ ...share, median: median(share.values) })),
    })),
  }));
  return `${JSON.stringify({ machine, sections: described }, null, 2)}\n`;
}

/** A text with what stands between the markers replaced. */
export function replaceResults(text: string, results: string): string {
  const [start, end] = markers.map((marker) => text.indexOf(marker));
  if (start === undefined || end === undefined || start < 0 || end < start)
    throw new Error(`The text has no ${markers.join(" … ")}.`);
  return `${text.slice(0, start)}${markers[0]}\n\n${results}\n\n${text.slice(end)}`;
}

/** Writes results into a Markdown file between its markers. */
export async function writeResults(file: string, results: string): Promise<void> {
  await writeFile(file, replaceResults(await readFile(file, "utf8"), results));
}

/** Writes the plots of all sections into a folder, where the tables of README.md look for them. */
export async function writePlots(folder: string, sections: readonly Section[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const { file, svg } of sections.flatMap(({ plots = [] }) => plots))
    await writeFile(path.join(folder, file), svg);
}
