// Converts a folder of RecurrentGemma-2B's size: 5.4 GB of random bf16 in shards, in a process of its own whose memory
// is measured; and once more to int4, which fits into what WASM can address, to run it. Needs 14 GB of disk, and deletes
// what it wrote.
import { execFile } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { mkdir, mkdtemp, open, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/load.ts";
import type { Converted } from "../../src/checkpoint/convert.ts";
import { encodeHeader } from "../../src/checkpoint/safetensors.ts";
import { openFolder } from "../../src/cli/files.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { parseConfig } from "../../src/model/config.ts";
import { weightSpecs } from "../../src/model/weights.ts";
import { build } from "../../wasm/build.ts";

const config = {
  model_type: "recurrent_gemma",
  _block_types: ["recurrent", "recurrent", "attention"],
  attention_window_size: 2048,
  bos_token_id: 2,
  conv1d_width: 4,
  embeddings_scale_by_sqrt_dim: true,
  eos_token_id: 1,
  head_dim: 256,
  hidden_activation: "gelu_pytorch_tanh",
  hidden_size: 2560,
  intermediate_size: 15360,
  logits_soft_cap: 30,
  lru_width: 2560,
  num_attention_heads: 10,
  num_hidden_layers: 26,
  num_key_value_heads: 1,
  pad_token_id: 0,
  partial_rotary_factor: 0.5,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  torch_dtype: "bfloat16",
  vocab_size: 256000,
};
const parameters = 2_682_862_080;
const shardLimitBytes = 2 ** 30;
const memoryLimitBytes = 2e9;
const diskBytes = 14e9;

const elements = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "griffin-2b-"));
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < diskBytes) throw new Error(`This test needs ${diskBytes} bytes in ${folder}.`);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes config.json and shards of random bits, none of them a NaN, a piece at a time. */
async function writeSource(): Promise<void> {
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  const tensors = weightSpecs(parseConfig(config)).map(({ name, shape }) => ({
    name: `model.${name}`,
    dtype: "BF16" as const,
    shape: name.endsWith("conv_1d.weight") ? [shape[1] ?? 0, 1, 4] : shape,
  }));
  expect(tensors).toHaveLength(484);
  const shards: (typeof tensors)[] = [[]];
  let shardBytes = 0;
  for (const tensor of tensors) {
    const bytes = 2 * elements(tensor.shape);
    if (shardBytes > 0 && shardBytes + bytes > shardLimitBytes) {
      shards.push([]);
      shardBytes = 0;
    }
    shards.at(-1)?.push(tensor);
    shardBytes += bytes;
  }
  const random = randomFillSync(new Uint16Array(2 ** 21)).map((bits) => bits & 0xbfff);
  const noise = new Uint8Array(random.buffer);
  const weight_map: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const file = `model-0000${i + 1}-of-0000${shards.length}.safetensors`;
    const { bytes, fileBytes } = encodeHeader(shard);
    const handle = await open(join(folder, file), "w");
    await handle.writeFile(bytes);
    for (let left = fileBytes - bytes.byteLength; left > 0; left -= noise.byteLength) {
      await handle.writeFile(noise.subarray(0, left));
    }
    await handle.close();
    for (const { name } of shard) weight_map[name] = file;
  }
  await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));
}

/** What the child process runs; it prints the result and the most memory it ever held. */
const script = `
  import { createHash } from "node:crypto";
  import { convert } from "${new URL("../../src/checkpoint/convert.ts", import.meta.url).href}";
  import { folderSource, folderTarget } from "${new URL("../../src/cli/files.ts", import.meta.url).href}";
  const [source, target, format] = process.argv.slice(1);
  const result = await convert(folderSource(source), folderTarget(target), {
    inPlace: source === target,
    ...(format && { format }),
    createHash: () => createHash("sha256"),
  });
  console.log(JSON.stringify({ ...result, rssBytes: process.resourceUsage().maxRSS * 1024 }));
`;

async function convertAside(...paths: string[]): Promise<Converted & { rssBytes: number }> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script, ...paths]);
  return JSON.parse(stdout);
}

describe("RecurrentGemma-2B", () => {
  it("is converted from shards in less than 2 GB of memory, and opens", { timeout: 1_800_000 }, async () => {
    await writeSource();
    const startMs = performance.now();
    const { manifest, rssBytes } = await convertAside(folder, folder);
    const convertMs = performance.now() - startMs;
    expect(rssBytes).toBeLessThan(memoryLimitBytes);
    expect(manifest).toMatchObject({
      parameters,
      format: "bf16",
      kv: "bf16",
      state_bytes: 184_320 + 552_960 + 16 * 2 ** 20,
    });

    const checkpoint = await openCheckpoint(openFolder(folder), () => createHash("sha256"));
    expect(checkpoint.manifest).toEqual(manifest);
    const checkMs = performance.now();
    const names = new Set<string>();
    let weightBytes = 0;
    for await (const { name, bytes } of checkpoint.weights()) {
      names.add(name);
      weightBytes += bytes.byteLength;
    }
    expect(names.size).toBe(484);
    const matrices = weightSpecs(checkpoint.config).filter(({ matrix }) => matrix);
    expect(weightBytes).toBe(4 * parameters - 2 * matrices.reduce((sum, { shape }) => sum + elements(shape), 0));
    console.log(
      `peak ${(rssBytes / 1e6).toFixed(0)} MB, converted in ${(convertMs / 1000).toFixed(0)} s, ` +
        `${weightBytes} bytes checked in ${((performance.now() - checkMs) / 1000).toFixed(0)} s`,
    );
  });

  it("runs in int4", { timeout: 1_800_000 }, async () => {
    const target = join(folder, "int4");
    await mkdir(target);
    const startMs = performance.now();
    const { manifest, rssBytes } = await convertAside(folder, target, "int4");
    const convertMs = performance.now() - startMs;
    expect(rssBytes).toBeLessThan(memoryLimitBytes);
    expect(manifest).toMatchObject({ parameters, format: "int4", kv: "bf16" });

    const module = await WebAssembly.compile(await readFile(await build("relaxed")));
    const engine = await EdgeEngine.load(module, openFolder(target), { createHash: () => createHash("sha256") });
    const { instance } = engine;
    const [slotPtr = 0] = instance.layout.slots;
    let logits = instance.forward(slotPtr, [2, 651, 4320], 0, "last");
    for (let position = 3; position < 6; position++) logits = instance.forward(slotPtr, [position], position, "last");
    expect(logits.every(Number.isFinite)).toBe(true);
    expect(new Set(logits).size).toBeGreaterThan(1_000);
    console.log(
      `int4: peak ${(rssBytes / 1e6).toFixed(0)} MB, converted in ${(convertMs / 1000).toFixed(0)} s, runs in ` +
        `${instance.layout.totalBytes} bytes`,
    );
  });
});
