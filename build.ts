// Builds what is missing or older than its sources: dist/griffin.wasm, dist/griffin.js and the pocket checkpoint.
import { spawnSync } from "node:child_process";
import { stat } from "node:fs/promises";
import { glob } from "node:fs/promises";
import * as esbuild from "esbuild";
import { build as buildKernels } from "./wasm/build.ts";

const cli = "dist/griffin.js";
const pocket = "models/pocket";

process.chdir(import.meta.dirname);
await buildKernels();
if (await isStale([cli], ["src/**/*.ts", "package.json"])) {
  await esbuild.build({
    entryPoints: ["src/cli/griffin.ts"],
    outfile: cli,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    logLevel: "warning",
  });
}
const converted = ["graph.onnx", "weights.safetensors", "model.json"].map((name) => `${pocket}/${name}`);
const converter = ["src/{model,checkpoint}/**/*.ts", `${pocket}/{config.json,model.safetensors,tokenizer.json}`];
if (await isStale(converted, converter)) {
  const { status } = spawnSync(process.execPath, [cli, "convert", pocket, pocket, "--quiet"], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

/** Whether an output is missing or older than a source. */
async function isStale(outputs: string[], sources: string[]): Promise<boolean> {
  const built = Math.min(...(await Promise.all(outputs.map(modifiedMs))));
  for await (const source of glob(sources)) if ((await modifiedMs(source)) > built) return true;
  return false;
}

/** When a file was last changed; 0 where there is none. */
async function modifiedMs(file: string): Promise<number> {
  return (await stat(file).catch(() => null))?.mtimeMs ?? 0;
}
