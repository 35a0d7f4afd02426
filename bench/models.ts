// The models that are measured: pocket, and generated ones of the sizes that matter. Generated weights depend on the
// config and on nothing else, so all formats of a model hold the same ones. Checkpoints stay in .bench/, which git ignores.
import { createHash } from "node:crypto";
import { glob, mkdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import { convert } from "../src/checkpoint/convert.ts";
import { folderSource, folderTarget } from "../src/cli/files.ts";
import { nodeHash } from "../src/cli/hash.ts";
import type { Config } from "../src/model/config.ts";
import type { Format } from "../src/model/weights.ts";
import { generatedSource } from "./generated-source.ts";

const root = path.resolve(import.meta.dirname, "..");
/** Everything that a benchmark makes once and keeps. */
export const cacheFolder = path.join(root, ".bench");

const common = {
  numKvHeads: 1,
  ropeTheta: 10_000,
  rmsNormEpsilon: 1e-6,
  logitsSoftCap: 30,
  activation: "gelu_tanh",
  tied: true,
  attentionBias: false,
  bosTokenId: 2,
  eosTokenIds: [1],
  padTokenId: 0,
} as const;

const blocks = (count: number): Config["blockTypes"] =>
  Array.from({ length: count }, (_, i) => (i % 3 === 2 ? "attention" : "recurrent"));

const smallConfig: Config = {
  ...common,
  vocabSize: 4096,
  width: 512,
  lruWidth: 512,
  mlpWidth: 1024,
  blockTypes: blocks(12),
  numHeads: 8,
  headDim: 64,
  window: 512,
  rotaryDim: 32,
  embedScale: 22.625,
};

/** RecurrentGemma-2B. */
export const largeConfig: Config = {
  ...common,
  vocabSize: 256_000,
  width: 2560,
  lruWidth: 2560,
  mlpWidth: 7680,
  blockTypes: blocks(26),
  numHeads: 10,
  headDim: 256,
  window: 2048,
  rotaryDim: 128,
  embedScale: 50.5,
};

/** Models by how many parameters they have. */
export const models = {
  pocket: null,
  "30M": smallConfig,
  "52M": { ...smallConfig, blockTypes: blocks(21), vocabSize: 6144 },
  "2B": largeConfig,
} as const satisfies Record<string, Config | null>;
export type ModelName = keyof typeof models;

/** The folder of a checkpoint, which is made where it is not there yet. */
export async function checkpointFolder(name: ModelName, format: Format): Promise<string> {
  const all = path.join(cacheFolder, "checkpoints");
  const folder = path.join(all, `${name}-${format}-${await converterHash()}`);
  if ((await stat(path.join(folder, "model.json")).catch(() => null)) !== null) return folder;
  for await (const old of glob(`${name}-${format}-*`, { cwd: all })) await rm(path.join(all, old), { recursive: true });
  await mkdir(folder, { recursive: true });
  const config = models[name];
  const source = config === null ? folderSource(path.join(root, "models", name)) : generatedSource(config);
  await convert(source, folderTarget(folder), { format, createHash: nodeHash });
  return folder;
}

/** Changes with whatever a generated checkpoint depends on. */
async function converterHash(): Promise<string> {
  const sources = [
    "src/{model,checkpoint}/*.ts",
    "bench/{models,generated-source}.ts",
    "models/pocket/model.safetensors",
  ];
  const hash = createHash("sha256");
  const files: string[] = [];
  for await (const file of glob(sources, { cwd: root })) files.push(file);
  for (const file of files.toSorted()) hash.update(await readFile(path.join(root, file)));
  return hash.digest("hex").slice(0, 8);
}
