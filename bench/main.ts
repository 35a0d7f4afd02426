// `npm run bench -- http`: runs a benchmark and prints a table of medians and spreads, with the machine it ran on.
// `npm run bench -- quality`: what quantisation costs in quality, which no machine changes.
import { execFileSync } from "node:child_process";
import os from "node:os";
import path from "node:path";
import { measureHttp } from "./http.ts";
import { grouped, type Figure } from "./figure.ts";
import { heldOut, measureQuality, qualityTable } from "./quality.ts";

const benchmarks: Record<string, () => Promise<Figure[]>> = { http: measureHttp };

const name = process.argv[2] ?? "";
if (name === "quality") {
  console.log(qualityTable(await measureQuality(await heldOut())));
  process.exit();
}
const measure = benchmarks[name];
if (measure === undefined) {
  console.error(`Usage: npm run bench -- ${[...Object.keys(benchmarks), "quality"].join(" | ")}`);
  process.exit(2);
}
const figures = await measure();
const workerd = execFileSync(path.resolve(import.meta.dirname, "../node_modules/.bin/workerd"), ["--version"], {
  encoding: "utf8",
}).trim();
const [processor] = os.cpus();
console.log(`| figure | median | range | runs |\n|---|---|---|---|`);
for (const figure of figures) console.log(rowOf(figure));
console.log(
  `\n${os.availableParallelism()} cores of ${processor?.model ?? os.arch()}, Node ${process.versions.node}, ${workerd}, ` +
    `${new Date().toISOString().slice(0, 10)}; \`npm run bench -- ${name}\``,
);

function rowOf({ name: what, unit, values }: Figure): string {
  const sorted = values.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  const [least = NaN, most = NaN] = [sorted[0], sorted.at(-1)];
  const range = least === most ? "" : `${grouped(least)} – ${grouped(most)}`;
  return `| ${what} | ${grouped(median)} ${unit} | ${range} | ${values.length} |`;
}
