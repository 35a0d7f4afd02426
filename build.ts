// Builds what is missing or older than its sources: the kernels (dist/*.wasm), the command line (dist/griffin.js),
// the pocket checkpoint, what the worker serves as files (dist/public), and the worker itself (dist/worker, dist/workerd).
import { spawnSync } from "node:child_process";
import { copyFile, glob, mkdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import * as esbuild from "esbuild";
import { build as buildKernels } from "./wasm/build.ts";

const cli = "dist/griffin.js";
const member = "dist/team-member.js";
const pocket = "models/pocket";
/** What pocket is served in: as good as bf16, smaller and faster (README.md, "What quantisation costs"). */
const format = "int8";
const publicFolder = "dist/public";
/** Cloudflare's limit for one static file. */
const largestAssetBytes = 25 * 1024 * 1024;

process.chdir(import.meta.dirname);
await buildKernels("plain");
await buildKernels("relaxed");
await buildKernels("threads");
await buildCli();
await convertPocket();
await buildPublic();
await buildWorker();

async function buildCli(): Promise<void> {
  if (!(await isStale([cli, member], ["src/**/*.ts", "package.json"]))) return;
  await esbuild.build({
    entryPoints: ["src/cli/griffin.ts", "src/cli/team-member.ts"],
    outdir: "dist",
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    define: { GRIFFIN_VERSION: JSON.stringify(JSON.parse(await readFile("package.json", "utf8")).version) },
    logLevel: "warning",
  });
}

async function convertPocket(): Promise<void> {
  const converted = ["graph.onnx", "weights.safetensors", "model.json"].map((name) => `${pocket}/${name}`);
  const converter = ["src/{model,checkpoint}/**/*.ts", `${pocket}/{config.json,model.safetensors,tokenizer.json}`];
  if (!(await isStale(converted, converter))) return;
  const { status } = spawnSync(process.execPath, [cli, "convert", pocket, pocket, "--quantize", format, "--quiet"], {
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}

async function buildPublic(): Promise<void> {
  const page = `${publicFolder}/page.js`;
  if (await isStale([page], ["src/page/*.ts", "src/errors.ts", "package.json"])) {
    await esbuild.build({
      entryPoints: ["src/page/page.ts"],
      outfile: page,
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      logLevel: "warning",
    });
  }
  await buildDocs();
  for await (const file of glob("src/page/*.{html,css,svg}")) {
    await copyAsset(file, `${publicFolder}/${path.basename(file)}`);
  }
  await copyAsset(`${pocket}/CARD.md`, `${publicFolder}/card.txt`);
  for (const name of ["graph.onnx", "weights.safetensors", "tokenizer.json", "model.json"]) {
    await copyAsset(`${pocket}/${name}`, `${publicFolder}/${pocket}/${name}`);
  }
}

/** The page at /docs: swagger-ui, from its package, so that it needs no network. */
async function buildDocs(): Promise<void> {
  const folder = `${publicFolder}/docs`;
  const script = `${folder}/docs.js`;
  if (await isStale([script], ["src/page/docs/*.ts", "package.json"])) {
    await esbuild.build({ entryPoints: ["src/page/docs/docs.ts"], outfile: script, bundle: true, target: "es2022" });
  }
  for (const file of ["index.html", "docs.css"]) await copyAsset(`src/page/docs/${file}`, `${folder}/${file}`);
  for (const file of ["swagger-ui-bundle.js", "swagger-ui.css"]) {
    await copyAsset(`node_modules/swagger-ui-dist/${file}`, `${folder}/${file}`);
  }
}

async function copyAsset(source: string, target: string): Promise<void> {
  const { size } = await stat(source);
  if (size > largestAssetBytes) {
    throw new Error(
      `${source} has ${size} bytes, and a static file of a worker may have ${largestAssetBytes}: ` +
        `put the checkpoint into R2 and name it in MODELS (README.md, "Deploy").`,
    );
  }
  if (!(await isStale([target], [source]))) return;
  await mkdir(path.dirname(target), { recursive: true });
  await copyFile(source, target);
}

async function buildWorker(): Promise<void> {
  const sources = ["src/**/*.ts", "wrangler.toml", "package.json", "dist/*.wasm"];
  if (!(await isStale(["dist/worker/worker.js", "dist/workerd/config.capnp"], sources))) return;
  // A second to load, so only where there is something to build.
  const { bundleWorker } = await import("./src/cli/serve/config.ts");
  await bundleWorker();
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
