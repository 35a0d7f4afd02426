// The edge's half of the comparison, run by pytest (conftest.py):
//   edge.ts write FOLDER                    every model below, and shape_0 to shape_9 of random shapes, as a checkpoint
//                                           folder with what the edge computes: logits after every token, and the file of
//                                           the state after half of them; and in far.tokens and far.f32 what pocket in
//                                           int8 says far into a text
//   edge.ts convert SOURCE FOLDER           the checkpoint in int8 of a folder of Hugging Face's
//   edge.ts read CHECKPOINT STATE OUT       goes on from a state's file with the model's other tokens; writes the logits
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { EdgeEngine } from "../../src/engine/edge.ts";
import { decodeStateFile, encodeStateFile, type StateModel } from "../../src/engine/state-file.ts";
import type { KvDtype } from "../../src/model/state.ts";
import type { Format } from "../../src/model/weights.ts";
import type { Folder } from "../checkpoint/folders.ts";
import { checkpointFolder, checkpointOf, convertModel, engineOf, score } from "../parity/models.ts";
import { goldenNames, readGolden, type GoldenName } from "../reference/golden.ts";
import { randomModel, randomShape, type RandomModelName } from "../reference/random-model.ts";

const models: [GoldenName | RandomModelName, Format, KvDtype?][] = [
  ["tiny", "f32"],
  ["wide", "bf16"],
  ["oneblock", "f32"],
  ["pocket", "f32"],
  ["pocket", "int8"],
  ["pocket", "int4"],
  ["four_kv_heads_untied", "int4", "bf16"],
  ["silu_uncapped_unscaled", "f32"],
];

const formats = ["f32", "int8", "bf16", "int4"] as const satisfies Format[];

const isGolden = (name: string): name is GoldenName => name === "pocket" || goldenNames.some((known) => known === name);
const tokensOf = (name: GoldenName | RandomModelName) =>
  Array.from((isGolden(name) ? readGolden(name) : randomModel(name)).tokens);

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

async function stateModel(folder: Folder, engine: EdgeEngine): Promise<StateModel> {
  const { files } = JSON.parse(new TextDecoder().decode(folder.get("model.json")));
  return {
    checkpoint: files["weights.safetensors"].sha256,
    graph: files["graph.onnx"].sha256,
    layout: engine.instance.stateLayout,
    window: engine.config.window,
    vocabSize: engine.config.vocabSize,
  };
}

async function write(target: string): Promise<void> {
  for (const [name, format, kv] of models) {
    const engine = await writeModel(
      path.join(target, `${name}-${format}`),
      await checkpointFolder(name, format, kv),
      tokensOf(name),
    );
    if (name === "pocket" && format === "int8") await writeFar(target, engine);
  }
  for (let i = 0; i < 10; i++) {
    const model = randomShape(900 + i);
    const folder = await convertModel(model, formats[i % 4]!, i % 3 === 0 ? "bf16" : "f32");
    await writeModel(path.join(target, `shape_${i}`), folder, Array.from(model.tokens));
  }
}

async function writeModel(target: string, folder: Folder, tokens: number[]): Promise<EdgeEngine> {
  const engine = await engineOf(folder);
  const half = tokens.slice(0, Math.floor(tokens.length / 2));
  const { logits } = await score(engine, tokens);
  const { state } = await score(engine, half);
  const carried = { state, tokens: half.slice(-engine.config.window) };
  mkdirSync(target, { recursive: true });
  for (const [file, bytes] of folder) writeFileSync(path.join(target, file), bytes);
  writeFileSync(path.join(target, "tokens.json"), JSON.stringify(tokens));
  writeFileSync(path.join(target, "logits.f32"), bytesOf(logits));
  writeFileSync(path.join(target, "half.state"), encodeStateFile(carried, await stateModel(folder, engine)));
  return engine;
}

/** Logits after the first 20 and the last 20 of 1000 tokens. */
async function writeFar(target: string, engine: EdgeEngine): Promise<void> {
  const tokens = Int32Array.from({ length: 1000 }, (_, i) => (i * i * 7 + i * 31) % engine.config.vocabSize);
  const { logits } = await score(engine, tokens);
  const some = 20 * engine.config.vocabSize;
  writeFileSync(path.join(target, "far.tokens"), new Uint8Array(tokens.buffer));
  writeFileSync(
    path.join(target, "far.f32"),
    Buffer.concat([bytesOf(logits.slice(0, some)), bytesOf(logits.slice(-some))]),
  );
}

async function convert(source: string, target: string): Promise<void> {
  for (const [file, bytes] of await checkpointOf(source, "int8", "f32")) writeFileSync(path.join(target, file), bytes);
  copyFileSync(path.join(source, "tokenizer.json"), path.join(target, "tokenizer.json"));
}

async function read(checkpoint: string, file: string, out: string): Promise<void> {
  const folder: Folder = new Map(
    readdirSync(checkpoint).map((name) => [name, Uint8Array.from(readFileSync(path.join(checkpoint, name)))]),
  );
  const engine = await engineOf(folder);
  const { state } = decodeStateFile(Uint8Array.from(readFileSync(file)), await stateModel(folder, engine));
  const tokens: number[] = JSON.parse(readFileSync(path.join(checkpoint, "tokens.json"), "utf8"));
  const { logits } = await score(engine, tokens.slice(state.position), 64, state);
  writeFileSync(out, bytesOf(logits));
}

const [command, ...paths] = process.argv.slice(2);
if (command === "write") await write(paths[0]!);
else if (command === "convert") await convert(paths[0]!, paths[1]!);
else await read(paths[0]!, paths[1]!, paths[2]!);
