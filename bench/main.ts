// `npm run bench -- [kernels] [engine] [http] [formats] [quality] [--json FILE] [--write]`: measures, all of it unless told, and
// prints tables with the machine they were measured on. --json keeps every value; --write puts the tables into README.md
// and the plots into results/, which otherwise go to .bench/results.
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { measureConstraints } from "./constraints.ts";
import { measureEngine } from "./engine/engine.ts";
import { measureHttp } from "./http.ts";
import { measureKernels } from "./kernels.ts";
import { cacheFolder } from "./models.ts";
import { describeMachine } from "./machine.ts";
import { heldOut, measureQuality, qualityTable } from "./quality.ts";
import { json, markdown, writePlots, writeResults, type Section } from "./report.ts";

const benchmarks: Record<string, () => Promise<Section[]>> = {
  kernels: measureKernels,
  engine: measureEngine,
  http: measureHttp,
  formats: measureConstraints,
  quality: async () => [
    {
      title: "What quantisation costs, pocket on 120 held-out dialogues",
      figures: [],
      notes: [qualityTable(await measureQuality(await heldOut()))],
    },
  ],
};

const { values: options, positionals } = parseArgs({
  options: { json: { type: "string" }, write: { type: "boolean", default: false } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !Object.hasOwn(benchmarks, name));
if (unknown !== undefined) {
  console.error(`There is no benchmark "${unknown}": npm run bench -- [${Object.keys(benchmarks).join("] [")}]`);
  process.exit(2);
}
const wanted = positionals.length === 0 ? Object.keys(benchmarks) : positionals;
const sections: Section[] = [];
const machine = describeMachine();
for (const name of wanted) {
  sections.push(...((await benchmarks[name]?.()) ?? []));
  // Should a later one fail, what was measured so far is not lost.
  if (options.json !== undefined) await writeFile(options.json, json(sections, machine));
}

const results = markdown(sections, machine, ["npm run bench --", ...wanted].join(" "));
console.log(results);
if (options.write) {
  await writeResults(path.join(import.meta.dirname, "README.md"), results);
  await writePlots(path.join(import.meta.dirname, "results"), sections);
} else {
  await writePlots(path.join(cacheFolder, "results"), sections);
}
