// Converting a Hugging Face folder: what every tensor becomes, what is refused, and that an interruption leaves nothing
// that loads.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { convert, type ConvertOptions } from "../../src/checkpoint/convert.ts";
import { fileTensor, openCheckpoint } from "../../src/checkpoint/load.ts";
import type { Format } from "../../src/model/weights.ts";
import { bf16Round } from "../../src/model/bf16.ts";
import { parseConfig } from "../../src/model/config.ts";
import { readGraph } from "../../src/model/graph.ts";
import { decodeModel } from "../../src/model/onnx.ts";
import { tensorBytes, weightSpecs } from "../../src/model/weights.ts";
import { gemmaTokenizer } from "../model/gemma-tokenizer.ts";
import {
  type Folder,
  huggingFaceFolder,
  opener,
  randomTensors,
  safetensors,
  sharded,
  smallConfig,
  source,
  target,
  type Tensor,
  type Tensors,
  text,
  values,
} from "./folders.ts";

async function converted(from: Folder, options?: ConvertOptions) {
  const folder: Folder = new Map();
  return { folder, ...(await convert(source(from), target(folder), options)) };
}

/** Every tensor of a checkpoint, read as the engine reads it. */
async function loaded(folder: Folder, chunkBytes?: number): Promise<Tensors> {
  const tensors: Tensors = new Map();
  const lengths = new Map<string, number>();
  const pieces = (await openCheckpoint(opener(folder, chunkBytes))).weights();
  for await (const { name, dtype, shape, offsetBytes, bytes } of pieces) {
    const whole = tensors.get(name)?.bytes ?? new Uint8Array(tensorBytes(dtype, shape));
    expect(offsetBytes).toBe(lengths.get(name) ?? 0);
    whole.set(bytes, offsetBytes);
    lengths.set(name, offsetBytes + bytes.byteLength);
    tensors.set(name, { ...fileTensor({ name, dtype, shape }), bytes: whole });
  }
  for (const [name, { bytes }] of tensors) expect([name, lengths.get(name)]).toEqual([name, bytes.byteLength]);
  return tensors;
}

const transposed = (list: number[]) => [0, 1, 2, 3].flatMap((tap) => list.filter((_, i) => i % 4 === tap));
const convName = "model.layers.0.temporal_block.conv_1d.weight";
const normName = "model.final_norm.weight";

/** The small model's tensors with one change. */
function changed(name: string, tensor: Partial<Tensor> | null, config: object = smallConfig): Folder {
  const tensors = randomTensors(config);
  const before = tensors.get(name) ?? { dtype: "BF16", shape: [2], bytes: new Uint8Array(4) };
  if (tensor === null) tensors.delete(name);
  else tensors.set(name, { ...before, ...tensor });
  return huggingFaceFolder(config, tensors);
}

const withWindow = (attention_window_size: number) =>
  converted(huggingFaceFolder({ ...smallConfig, attention_window_size }));

describe("convert", () => {
  const formats: Format[] = ["f32", "bf16"];
  const cases = (["BF16", "F16", "F32"] as const).flatMap((dtype) => formats.map((format) => [dtype, format] as const));
  it.each(cases)("stores every tensor of a %s source as format %s says", async (dtype, format) => {
    const tensors = randomTensors(smallConfig, dtype);
    const stored = await loaded((await converted(huggingFaceFolder(smallConfig, tensors), { format })).folder);
    const specs = weightSpecs(parseConfig(smallConfig));
    expect([...stored.keys()].toSorted()).toEqual(specs.map(({ name }) => name).toSorted());
    for (const { name, shape, matrix } of specs) {
      const tensor = stored.get(name);
      const before = tensors.get(`model.${name}`);
      if (!tensor || !before) throw new Error(`${name} is missing`);
      const narrow = matrix && format === "bf16";
      const same = name.includes("conv_1d.weight") ? transposed(values(before)) : values(before);
      expect([name, tensor.dtype, tensor.shape]).toEqual([name, narrow ? "BF16" : "F32", shape]);
      expect(values(tensor)).toEqual(narrow ? same.map(bf16Round) : same);
    }
  });

  it("keeps the reference's own checkpoint bit for bit", async () => {
    const folder: Folder = new Map(
      ["config.json", "model.safetensors"].map((file) => [file, readFileSync(`test/golden/wide/${file}`)]),
    );
    const { manifest, folder: out } = await converted(folder);
    expect(manifest).toMatchObject({ format: "bf16", kv: "f32", chat: null, stop_token_ids: [1] });
    const stored = await loaded(out);
    const table = stored.get("embed_tokens.weight")?.bytes;
    expect(table).toBeDefined();
    expect(Buffer.from(folder.get("model.safetensors") ?? []).includes(Buffer.from(table ?? []))).toBe(true);
  });

  it("chooses bf16 when every matrix of the source is, and f32 otherwise", async () => {
    const f32 = randomTensors(smallConfig, "F32");
    const mixed = (names: (name: string) => boolean) =>
      huggingFaceFolder(
        smallConfig,
        new Map(
          [...randomTensors(smallConfig)].map(([name, tensor]) => [name, (names(name) && f32.get(name)) || tensor]),
        ),
      );
    expect((await converted(mixed((name) => name.includes("norm") || name.includes("bias")))).manifest.format).toBe(
      "bf16",
    );
    expect((await converted(mixed((name) => name.endsWith("layers.1.mlp_block.up_proj.weight")))).manifest.format).toBe(
      "f32",
    );
  });

  it("keeps a window of up to 4 MiB in f32, and rounds a larger one to bf16", async () => {
    const entryBytes = 2 * 12 * 4; // keys and values, two heads of six
    const limit = Math.floor((4 * 2 ** 20) / entryBytes);
    const [small, large] = [(await withWindow(limit)).manifest, (await withWindow(limit + 1)).manifest];
    const recurrentBytes = 4 * 20 * 4;
    expect(small).toMatchObject({ kv: "f32", state_bytes: recurrentBytes + limit * entryBytes });
    expect(large).toMatchObject({ kv: "bf16", state_bytes: recurrentBytes + ((limit + 1) * entryBytes) / 2 });
  });

  it("gives the same bytes from shards, from names without the prefix and from convolutions stored [R, 4, 1]", async () => {
    const tensors = randomTensors(smallConfig);
    const whole = (await converted(huggingFaceFolder(smallConfig, tensors))).folder;
    const shards = sharded(huggingFaceFolder(smallConfig, tensors), tensors, 3);
    const bare = new Map([...tensors].map(([name, tensor]) => [name.replace("model.", ""), tensor]));
    expect((await converted(shards)).folder).toEqual(whole);
    expect((await converted(huggingFaceFolder(smallConfig, bare))).folder).toEqual(whole);
    expect((await converted(changed(convName, { shape: [20, 4, 1] }))).folder).toEqual(whole);
  });

  it("counts parameters, reports progress and points the graph at every tensor, F32 aligned", async () => {
    const progress: [number, number][] = [];
    const odd = { ...smallConfig, hidden_size: 11 }; // the table has an odd number of elements
    const { manifest, folder } = await converted(huggingFaceFolder(odd), {
      onProgress: (done, total) => progress.push([done, total]),
    });
    const config = parseConfig(odd);
    const counted = weightSpecs(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
    expect(manifest.parameters).toBe(counted);
    const total = folder.get("weights.safetensors")?.byteLength;
    expect(progress.at(-1)).toEqual([total, total]);
    expect(progress.every(([done], i) => done > (progress[i - 1]?.[0] ?? 0))).toBe(true);

    const graph = readGraph(decodeModel(folder.get("graph.onnx") ?? new Uint8Array()));
    const stored = await loaded(folder);
    expect([...graph.initializers.keys()].toSorted()).toEqual([...stored.keys()].toSorted());
    for (const [name, place] of graph.initializers) {
      const bytes = folder
        .get("weights.safetensors")
        ?.subarray(place.offsetBytes, place.offsetBytes + place.lengthBytes);
      expect(Buffer.from(bytes ?? [])).toEqual(Buffer.from(stored.get(name)?.bytes ?? []));
      expect([name, place.dtype === "f32" ? place.offsetBytes % 4 : 0]).toEqual([name, 0]);
    }
  });

  it("moves large tensors in pieces of at most 8 MiB", async () => {
    const config = { ...smallConfig, vocab_size: 400_000 };
    const tensors = randomTensors(config, "BF16", 5);
    const folder: Folder = new Map();
    let largestBytes = 0;
    const out = target(folder);
    const measured: typeof out = {
      ...out,
      create: async (file) => {
        const { write, close } = await out.create(file);
        return {
          close,
          write: (bytes) => {
            largestBytes = Math.max(largestBytes, bytes.byteLength);
            return write(bytes);
          },
        };
      },
    };
    await convert(source(huggingFaceFolder(config, tensors)), measured, { format: "f32" });
    const rowBytes = 4 * smallConfig.hidden_size;
    expect(largestBytes).toBe(8 * 2 ** 20 - ((8 * 2 ** 20) % rowBytes));
    const table = (await loaded(folder, 2 ** 20)).get("embed_tokens.weight");
    const before = tensors.get("model.embed_tokens.weight");
    if (!table || !before) throw new Error("no table");
    const widened = Uint32Array.from(new Uint16Array(before.bytes.buffer), (bits) => bits << 16);
    expect(Buffer.from(widened.buffer).equals(table.bytes)).toBe(true);
  });
});

const headed = (shape: number[], config: object = smallConfig) =>
  changed("lm_head.weight", { shape, bytes: new Uint8Array(2 * shape.reduce((a, b) => a * b)) }, config);

describe("tensors that the model does not compute with", () => {
  it("drops a head of the table's shape when it is tied, and says so", async () => {
    const { dropped, folder } = await converted(headed([31, 12]));
    expect(dropped).toEqual(["lm_head.weight"]);
    expect([...(await loaded(folder)).keys()]).not.toContain("lm_head.weight");
  });

  it("drops rotary frequencies, which are recomputed, and says so", async () => {
    const name = "model.layers.1.temporal_block.rotary_emb.inv_freq";
    expect((await converted(changed(name, {}))).dropped).toEqual([name]);
  });

  it("refuses a tied head of another shape", async () => {
    await expect(converted(headed([31, 11]))).rejects.toThrow('"lm_head.weight" [31, 11]');
  });

  it("keeps an untied head", async () => {
    const untied = { ...smallConfig, tie_word_embeddings: false };
    const { folder, dropped } = await converted(huggingFaceFolder(untied));
    expect(dropped).toEqual([]);
    expect((await loaded(folder)).get("lm_head.weight")?.shape).toEqual([31, 12]);
  });
});

const truncated = () => {
  const folder = huggingFaceFolder();
  const file = folder.get("model.safetensors") ?? new Uint8Array();
  return folder.set("model.safetensors", file.subarray(0, -5));
};
const shards = () => sharded(huggingFaceFolder(), randomTensors(smallConfig), 2);
const without = (file: string, folder: Folder) => {
  folder.delete(file);
  return folder;
};

describe("a source that does not fit", () => {
  const remapped = (map: (names: Record<string, string>) => unknown) => {
    const folder = shards();
    const index = JSON.parse(Buffer.from(folder.get("model.safetensors.index.json") ?? []).toString());
    return folder.set("model.safetensors.index.json", text({ weight_map: map(index.weight_map) }));
  };
  const untied = { ...smallConfig, tie_word_embeddings: false };

  it.each<[string, Folder, string, string]>([
    ["no config.json", without("config.json", huggingFaceFolder()), "not_found", "config.json"],
    [
      "a config.json that is no JSON",
      huggingFaceFolder().set("config.json", text("{")),
      "invalid_config",
      "config.json",
    ],
    ["another model", huggingFaceFolder().set("config.json", text({ model_type: "llama" })), "unsupported", "llama"],
    ["no weights", without("model.safetensors", huggingFaceFolder()), "not_found", "model.safetensors.index.json"],
    ["a missing tensor", changed(normName, null), "invalid_checkpoint", '"final_norm.weight"'],
    ["a missing untied head", changed("lm_head.weight", null, untied), "invalid_checkpoint", '"lm_head.weight"'],
    [
      "an unknown tensor",
      changed("model.layers.2.mlp_block.bias", {}),
      "invalid_checkpoint",
      '"model.layers.2.mlp_block.bias"',
    ],
    [
      "a bias that attention should not have",
      changed("model.layers.1.temporal_block.q_proj.bias", {}),
      "invalid_checkpoint",
      "q_proj.bias",
    ],
    [
      "a wrong dtype",
      changed(normName, { dtype: "I16" }),
      "invalid_checkpoint",
      `"${normName}" must be F32, BF16, F16; got I16`,
    ],
    [
      "a wrong shape",
      changed(normName, { shape: [2, 6] }),
      "invalid_checkpoint",
      `"${normName}" must be [12], got [2, 6]`,
    ],
    [
      "a wrong convolution",
      changed(convName, { shape: [4, 20] }),
      "invalid_checkpoint",
      `"${convName}" must be [20, 1, 4] or [20, 4, 1], got [4, 20]`,
    ],
    ["a tensor under both names", changed("final_norm.weight", {}), "invalid_checkpoint", `"${normName}"`],
    ["a truncated file", truncated(), "invalid_checkpoint", "truncated: tensor"],
    [
      "an index that is no JSON",
      shards().set("model.safetensors.index.json", text("[")),
      "invalid_checkpoint",
      "model.safetensors.index.json",
    ],
    [
      "an index without weight_map",
      shards().set("model.safetensors.index.json", text({})),
      "invalid_checkpoint",
      '"weight_map"',
    ],
    [
      "a missing shard",
      without("model-00002-of-00002.safetensors", shards()),
      "not_found",
      "model-00002-of-00002.safetensors",
    ],
    [
      "a shard without a promised tensor",
      remapped((m) => ({ ...m, extra: m[normName] })),
      "invalid_checkpoint",
      '"extra"',
    ],
    [
      "a shard outside the folder",
      remapped((m) => ({ ...m, [normName]: "../secret.safetensors" })),
      "invalid_checkpoint",
      "../secret",
    ],
    [
      "a shard named as our own file",
      remapped((m) => ({ ...m, [normName]: "weights.safetensors" })),
      "invalid_checkpoint",
      "weights.safetensors",
    ],
    [
      "a tensor in two shards",
      shards().set("model-00002-of-00002.safetensors", safetensors(randomTensors(smallConfig))),
      "invalid_checkpoint",
      "twice",
    ],
  ])("is refused: %s", async (_, folder, code, names) => {
    const out: Folder = new Map();
    const run = convert(source(folder), target(out));
    await expect(run).rejects.toMatchObject({ code, message: expect.stringContaining(names) });
    expect([...out.keys()]).toEqual([]);
  });
});

describe("the tokenizer", () => {
  const json = gemmaTokenizer();
  const config = { ...smallConfig, vocab_size: 400 };
  const withTokenizer = (tokenizer: unknown, patch: object = {}) =>
    huggingFaceFolder({ ...config, ...patch }).set("tokenizer.json", text(tokenizer));

  it("is copied byte for byte, and names the chat and stop tokens", async () => {
    const from = withTokenizer(json);
    const { manifest, folder } = await converted(from);
    expect(Buffer.from(folder.get("tokenizer.json") ?? [])).toEqual(Buffer.from(from.get("tokenizer.json") ?? []));
    expect(manifest.chat).toEqual({ bos_token_id: 2, start_of_turn_token_id: 4, end_of_turn_token_id: 5 });
    expect(manifest.stop_token_ids).toEqual([1, 5]);
  });

  it("stops once on an end of turn that the config names too", async () => {
    expect((await converted(withTokenizer(json, { eos_token_id: [1, 5] }))).manifest.stop_token_ids).toEqual([1, 5]);
  });

  it("without turn tokens gives no chat", async () => {
    const plain = JSON.parse(JSON.stringify(json).replaceAll("_of_turn", "_of_something"));
    expect((await converted(withTokenizer(plain))).manifest).toMatchObject({ chat: null, stop_token_ids: [1] });
  });

  it.each<[string, Folder, string]>([
    ["ids outside the vocabulary", huggingFaceFolder().set("tokenizer.json", text(json)), "vocab_size 31"],
    ["another bos than the config", withTokenizer(json, { bos_token_id: 3 }), "<bos> is token 2"],
    ["no JSON", huggingFaceFolder(config).set("tokenizer.json", text("{")), "tokenizer.json"],
  ])("is refused: %s", async (_, folder, names) => {
    await expect(converted(folder)).rejects.toMatchObject({
      code: "invalid_checkpoint",
      message: expect.stringContaining(names),
    });
  });

  it("stays untouched when a folder is converted in place", async () => {
    const folder = withTokenizer(json);
    const before = new Map(folder);
    const actions: string[] = [];
    await convert(
      source(folder),
      target(folder, (action) => actions.push(action)),
      { inPlace: true },
    );
    expect(actions.filter((action) => action.includes("tokenizer"))).toEqual([]);
    for (const [file, bytes] of before) expect(folder.get(file)).toBe(bytes);
    expect([...folder.keys()].filter((file) => !before.has(file)).toSorted()).toEqual([
      "graph.onnx",
      "model.json",
      "weights.safetensors",
    ]);
    expect((await loaded(folder)).size).toBe(weightSpecs(parseConfig(config)).length);
  });
});

describe("an interrupted conversion", () => {
  const from = huggingFaceFolder({ ...smallConfig, vocab_size: 400 }).set("tokenizer.json", text(gemmaTokenizer()));
  const other = huggingFaceFolder(
    { ...smallConfig, vocab_size: 400 },
    randomTensors({ ...smallConfig, vocab_size: 400 }, "F32", 99),
  );

  /** Converts `from` into `folder`; from action `at` on nothing works any more, as after a crash. */
  async function interrupted(folder: Folder, at: number): Promise<boolean> {
    let actions = 0;
    const run = convert(
      source(from),
      target(folder, () => {
        if (actions++ >= at) throw new Error("power cut");
      }),
    );
    return run.then(
      () => false,
      () => true,
    );
  }

  it("leaves nothing that loads, at whatever step, and can be run again", async () => {
    let at = 0;
    for (const folder: Folder = new Map(); await interrupted(folder, at); at++) {
      await expect(openCheckpoint(opener(folder))).rejects.toMatchObject({ code: "not_found" });
    }
    expect(at).toBeGreaterThan(40);
    const folder: Folder = new Map();
    await interrupted(folder, at - 1);
    await convert(source(from), target(folder));
    expect((await loaded(folder)).size).toBeGreaterThan(0);
    expect([...folder.keys()].filter((file) => file.endsWith(".partial"))).toEqual([]);
  });

  it("leaves an earlier checkpoint whole, or nothing that loads", async () => {
    const earlier = (await converted(other)).folder;
    const expected = await loaded(earlier);
    let kept = 0;
    for (let at = 0; ; at++) {
      const folder = new Map(earlier);
      if (!(await interrupted(folder, at))) break;
      if (!folder.has("model.json")) continue;
      kept++;
      expect(await loaded(folder)).toEqual(expected);
    }
    expect(kept).toBeGreaterThan(40);
  });

  it("clears away its partial files when it fails", async () => {
    const folder: Folder = new Map();
    const full = target(folder, (action) => {
      if (action === "write graph.onnx.partial") throw new Error("disk full");
    });
    await expect(convert(source(from), full)).rejects.toThrow("disk full");
    expect([...folder.keys()]).toEqual([]);
  });

  it("says what went wrong first when clearing away fails too", async () => {
    for (const first of ["create graph.onnx.partial", "write graph.onnx.partial", "rename graph.onnx.partial"]) {
      let isBroken = false;
      const folder: Folder = new Map();
      const broken = target(folder, (action) => {
        if (isBroken) throw new Error("clearing away failed");
        isBroken = action === first;
        if (isBroken) throw new Error("disk full");
      });
      const closing: typeof broken = {
        ...broken,
        create: async (file) => {
          const { write } = await broken.create(file);
          return { write, close: () => (isBroken ? Promise.reject(new Error("closing failed")) : Promise.resolve()) };
        },
      };
      await expect(convert(source(from), closing), first).rejects.toThrow("disk full");
    }
  });

  it("clears away every file it can when one of them stays", async () => {
    const removed: string[] = [];
    const stuck = target(new Map(), (action) => {
      if (action === "write graph.onnx.partial") throw new Error("disk full");
      if (action.startsWith("remove")) removed.push(action);
      if (action === "remove weights.safetensors.partial") throw new Error("stuck");
    });
    await expect(convert(source(from), stuck)).rejects.toThrow("disk full");
    expect(removed).toEqual(["remove weights.safetensors.partial", "remove graph.onnx.partial"]);
  });
});
