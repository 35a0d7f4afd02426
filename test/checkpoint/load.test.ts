// Opening a checkpoint: every byte arrives once, whatever the chunks, and every damage is named.
import * as fc from "fast-check";
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { convert } from "../../src/checkpoint/convert.ts";
import { fileEntry } from "../../src/checkpoint/hash.ts";
import { fileTensor, type OpenFile, openCheckpoint } from "../../src/checkpoint/load.ts";
import type { Manifest } from "../../src/checkpoint/manifest.ts";
import { encodeHeader, headerLength, headerLengthBytes, parseHeader } from "../../src/checkpoint/safetensors.ts";
import { parseConfig } from "../../src/model/config.ts";
import { gemmaTokenizer } from "../model/gemma-tokenizer.ts";
import { type Folder, huggingFaceFolder, opener, smallConfig, source, target, text } from "./folders.ts";

const config = { ...smallConfig, vocab_size: 400 };
const whole: Folder = new Map();
await convert(source(huggingFaceFolder(config).set("tokenizer.json", text(gemmaTokenizer()))), target(whole));

const bytesOf = (folder: Folder, file: string) => folder.get(file) ?? new Uint8Array();
const manifestOf = (folder: Folder): Manifest => JSON.parse(Buffer.from(bytesOf(folder, "model.json")).toString());
const weights = bytesOf(whole, "weights.safetensors");

async function drain(open: OpenFile): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const { bytes } of (await openCheckpoint(open)).weights()) parts.push(bytes.slice());
  return Buffer.concat(parts);
}

/** The checkpoint with one file replaced. */
const replaced = (file: string, bytes: Uint8Array): Folder => new Map(whole).set(file, bytes);

/** The checkpoint with one file replaced and the manifest agreeing with it. */
function forged(file: "weights.safetensors" | "graph.onnx" | "tokenizer.json", bytes: Uint8Array): Folder {
  const manifest = manifestOf(whole);
  manifest.files[file] = fileEntry(bytes);
  return replaced(file, bytes).set("model.json", text(manifest));
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

const header = parseHeader(
  weights.subarray(headerLengthBytes, headerLengthBytes + headerLength(weights, weights.byteLength, "weights")),
  weights.byteLength,
  "weights",
);
const stored = Array.from(header.tensors, ([name, { dtype, shape }]) => ({ name, dtype, shape }));

/** A weights file, with data of zeros, whose header is ours but for a change. */
function reheaded(change: (tensors: typeof stored) => typeof stored, edit = (json: string) => json): Folder {
  const { bytes, fileBytes } = encodeHeader(change(stored));
  const json = edit(new TextDecoder().decode(bytes.subarray(headerLengthBytes)));
  const head = text(json);
  const file = new Uint8Array(fileBytes - bytes.byteLength + headerLengthBytes + head.byteLength + 64);
  new DataView(file.buffer).setBigUint64(0, BigInt(head.byteLength), true);
  file.set(head, headerLengthBytes);
  return forged("weights.safetensors", file);
}

describe("openCheckpoint", () => {
  it("gives the config, the graph, the tokenizer and the chat tokens", async () => {
    const checkpoint = await openCheckpoint(opener(whole));
    expect(checkpoint.config).toEqual(parseConfig(config));
    expect(Buffer.from(checkpoint.graph)).toEqual(Buffer.from(bytesOf(whole, "graph.onnx")));
    expect(checkpoint.tokenizer).toEqual(JSON.parse(JSON.stringify(gemmaTokenizer())));
    expect(checkpoint.chat).toEqual({ bosTokenId: 2, startOfTurnTokenId: 4, endOfTurnTokenId: 5 });
    expect(checkpoint.manifest).toEqual(manifestOf(whole));
  });

  it("gives null for a tokenizer that the manifest does not have, even where a file lies about", async () => {
    const folder: Folder = new Map();
    await convert(source(huggingFaceFolder(config)), target(folder));
    folder.set("tokenizer.json", text("stray"));
    expect((await openCheckpoint(opener(folder))).tokenizer).toBeNull();
  });

  it("streams every byte of the weights once, whatever the chunks", async () => {
    const data = weights.subarray(header.dataStartBytes);
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 51, max: 40_000 })),
        async (chunkBytes) => {
          expect(Buffer.from(data).equals(await drain(opener(whole, chunkBytes)))).toBe(true);
        },
      ),
      { seed: 1, numRuns: 15 },
    );
  });

  it("says of every piece whose it is and where it belongs", async () => {
    let at = 0;
    for await (const piece of (await openCheckpoint(opener(whole, 777))).weights()) {
      const entry = header.tensors.get(piece.name);
      expect(fileTensor(piece)).toEqual({ name: piece.name, dtype: entry?.dtype, shape: entry?.shape });
      expect((entry?.beginBytes ?? -1) + piece.offsetBytes).toBe(at);
      at += piece.bytes.byteLength;
    }
  });

  it.each([1, 7, 1_000, 100_000])(
    "reads streams of bytes, %i at most at once, into one buffer, and says so",
    async (most) => {
      const sizes = new Set<number>();
      const open: OpenFile = async (name) => {
        const bytes = bytesOf(whole, name);
        let at = 0;
        return new ReadableStream({
          type: "bytes",
          pull(controller) {
            const { byobRequest } = controller;
            const view = byobRequest?.view as Uint8Array<ArrayBuffer>;
            sizes.add(view.buffer.byteLength);
            const piece = bytes.subarray(at, at + Math.min(most, view.byteLength));
            at += piece.byteLength;
            view.set(piece);
            if (piece.byteLength === 0) controller.close();
            byobRequest?.respond(piece.byteLength);
          },
        });
      };
      let heard = 0;
      const parts: Uint8Array[] = [];
      const checkpoint = await openCheckpoint(open, undefined, () => heard++);
      for await (const { bytes } of checkpoint.weights()) parts.push(bytes.slice());
      expect(Buffer.concat(parts).equals(await drain(opener(whole)))).toBe(true);
      expect(checkpoint.graph).toEqual(bytesOf(whole, "graph.onnx"));
      expect([...sizes]).toEqual([2 ** 16]);
      expect(heard).toBeGreaterThanOrEqual(weights.byteLength / Math.min(most, 2 ** 16));
    },
  );

  it("hands out views of the stream's chunks, not copies", async () => {
    const chunkBytes = 1500;
    const chunks = new Set<ArrayBufferLike>();
    const open: OpenFile = async (name) => {
      const watch = new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          chunks.add(chunk.buffer);
          controller.enqueue(chunk);
        },
      });
      return (await opener(whole, chunkBytes)(name)).pipeThrough(watch);
    };
    let [views, copies] = [0, 0];
    for await (const { bytes } of (await openCheckpoint(open)).weights()) {
      if (chunks.has(bytes.buffer)) views += bytes.byteLength;
      else copies += bytes.byteLength;
    }
    expect(copies).toBeLessThan(chunkBytes); // what came in one chunk with the header's end
    expect(views).toBeGreaterThan(copies);
  });

  it("lets go of the stream when its reader stops early", async () => {
    const cancelled: string[] = [];
    const open: OpenFile = async (name) => {
      const reader = (await opener(whole)(name)).getReader();
      return new ReadableStream({
        pull: async (controller) => {
          const { value, done } = await reader.read();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: () => void cancelled.push(name),
      });
    };
    for await (const piece of (await openCheckpoint(open)).weights()) {
      expect(piece.offsetBytes).toBe(0);
      break;
    }
    expect(cancelled).toEqual(["weights.safetensors"]);
  });

  it("gives weights.safetensors as it lies there, once it is checked", async () => {
    expect(Buffer.from(await (await openCheckpoint(opener(whole))).readWeights()).equals(weights)).toBe(true);
    const changed = await openCheckpoint(opener(replaced("weights.safetensors", flipped(weights, 0))));
    await expect(changed.readWeights()).rejects.toMatchObject({ code: "hash_mismatch" });
  });

  it("takes another SHA-256", async () => {
    let hashes = 0;
    const checkpoint = await openCheckpoint(opener(whole), () => {
      hashes++;
      return createHash("sha256");
    });
    for await (const piece of checkpoint.weights()) expect(piece.bytes.byteLength).toBeGreaterThan(0);
    expect(hashes).toBe(3);
  });
});

describe("a damaged checkpoint", () => {
  const manifestWith = (change: (manifest: Manifest) => unknown) =>
    replaced("model.json", text(change(manifestOf(whole))));
  const without = (file: string) => new Map([...whole].filter(([name]) => name !== file));
  const tokenizer = bytesOf(whole, "tokenizer.json");

  it.each<[string, Folder, string, string]>([
    ["no model.json", without("model.json"), "not_found", "model.json"],
    ["a model.json that is no JSON", replaced("model.json", text("{")), "invalid_config", "model.json"],
    ["a model.json that is not UTF-8", replaced("model.json", Uint8Array.of(0xff)), "invalid_checkpoint", "model.json"],
    [
      "an endless model.json",
      replaced("model.json", new Uint8Array(2 ** 21)),
      "invalid_checkpoint",
      "model.json is too long",
    ],
    ["another version", manifestWith((m) => ({ ...m, griffin: 2 })), "unsupported", "version 2"],
    ["no version", manifestWith((m) => ({ ...m, griffin: undefined })), "invalid_config", '"griffin"'],
    ["an unknown format", manifestWith((m) => ({ ...m, format: "int2" })), "invalid_config", '"format"'],
    [
      "a bad hash",
      manifestWith((m) => ({ ...m, files: { ...m.files, "graph.onnx": { bytes: 1, sha256: "x" } } })),
      "invalid_config",
      "sha256",
    ],
    [
      "no weights listed",
      manifestWith((m) => ({ ...m, files: { "graph.onnx": m.files["graph.onnx"] } })),
      "invalid_config",
      "weights.safetensors",
    ],
    [
      "a bad config",
      manifestWith((m) => ({ ...m, config: { ...m.config, hidden_size: null } })),
      "invalid_config",
      '"hidden_size"',
    ],
    [
      "one parameter too many",
      manifestWith((m) => ({ ...m, parameters: m.parameters + 1 })),
      "invalid_config",
      `model.json: "parameters": expected ${manifestOf(whole).parameters} for this config, got ${manifestOf(whole).parameters + 1}.`,
    ],
    [
      "the state's size with another window",
      manifestWith((m) => ({ ...m, kv: "bf16" })),
      "invalid_config",
      `model.json: "state_bytes": expected ${4 * 20 * 4 + 2 * 8 * 12 * 2} for this config, got ${4 * 20 * 4 + 2 * 8 * 12 * 4}.`,
    ],
    [
      "a stop token outside the vocabulary",
      manifestWith((m) => ({ ...m, stop_token_ids: [400] })),
      "invalid_config",
      "token id 400",
    ],
    ["no graph.onnx", without("graph.onnx"), "not_found", "graph.onnx"],
    [
      "a changed graph",
      replaced("graph.onnx", flipped(bytesOf(whole, "graph.onnx"), 99)),
      "hash_mismatch",
      "graph.onnx",
    ],
    [
      "a graph cut short",
      replaced("graph.onnx", bytesOf(whole, "graph.onnx").subarray(1)),
      "invalid_checkpoint",
      "graph.onnx is truncated",
    ],
    ["no tokenizer.json", without("tokenizer.json"), "not_found", "tokenizer.json"],
    ["a changed tokenizer", replaced("tokenizer.json", flipped(tokenizer, 9)), "hash_mismatch", "tokenizer.json"],
    [
      "a longer tokenizer",
      replaced("tokenizer.json", Buffer.concat([tokenizer, text(" ")])),
      "invalid_checkpoint",
      "tokenizer.json is too long",
    ],
    ["a tokenizer that is no JSON", forged("tokenizer.json", text("{")), "invalid_checkpoint", "tokenizer.json"],
    ["no weights", without("weights.safetensors"), "not_found", "weights.safetensors"],
    [
      "weights cut short",
      replaced("weights.safetensors", weights.subarray(0, -1)),
      "invalid_checkpoint",
      "weights.safetensors is truncated",
    ],
    [
      "weights cut in their header",
      replaced("weights.safetensors", weights.subarray(0, 100)),
      "invalid_checkpoint",
      "weights.safetensors is truncated",
    ],
    [
      "empty weights",
      replaced("weights.safetensors", new Uint8Array()),
      "invalid_checkpoint",
      "weights.safetensors is truncated",
    ],
    [
      "weights with bytes after them",
      replaced("weights.safetensors", Buffer.concat([weights, text("x")])),
      "invalid_checkpoint",
      "weights.safetensors is too long",
    ],
    [
      "a changed weight",
      replaced("weights.safetensors", flipped(weights, weights.byteLength - 1)),
      "hash_mismatch",
      "weights.safetensors",
    ],
    [
      "trailing bytes that the manifest counts",
      forged("weights.safetensors", Buffer.concat([weights, text("x")])),
      "invalid_checkpoint",
      "after its last tensor",
    ],
    [
      "a header that is no header",
      forged("weights.safetensors", text("not safetensors at all")),
      "invalid_checkpoint",
      "weights.safetensors",
    ],
    [
      "a tensor of another dtype",
      reheaded((t) => t.map((e) => (e.name === "final_norm.weight" ? { ...e, dtype: "BF16" } : e))),
      "invalid_checkpoint",
      '"final_norm.weight" must be F32 [12], got BF16 [12]',
    ],
    [
      "a tensor of another shape",
      reheaded((t) => t.map((e) => (e.name === "final_norm.weight" ? { ...e, shape: [13] } : e))),
      "invalid_checkpoint",
      '"final_norm.weight" must be F32 [12], got F32 [13]',
    ],
    [
      "a missing tensor",
      reheaded((t) => t.filter((e) => e.name !== "final_norm.weight")),
      "invalid_checkpoint",
      '"final_norm.weight" is missing',
    ],
    [
      "an unknown tensor",
      reheaded((t) => [...t, { name: "extra", dtype: "F32", shape: [1] }]),
      "invalid_checkpoint",
      '"extra"',
    ],
    [
      "a hole between tensors",
      reheaded(
        (t) => [
          ...t.filter((e) => e.name !== "final_norm.weight"),
          { name: "hole", dtype: "F32", shape: [4] },
          { name: "final_norm.weight", dtype: "F32", shape: [12] },
        ],
        (json) => json.replace(/"hole":\{.*?\},/, ""),
      ),
      "invalid_checkpoint",
      'hole before tensor "final_norm.weight"',
    ],
  ])("is refused: %s", async (_, folder, code, names) => {
    await expect(drain(opener(folder))).rejects.toMatchObject({ code, message: expect.stringContaining(names) });
  });

  it("is refused wherever one bit of a file is changed", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("graph.onnx", "weights.safetensors", "tokenizer.json"),
        fc.nat(),
        async (file, n) => {
          const bytes = bytesOf(whole, file);
          const code = await drain(opener(replaced(file, flipped(bytes, n % bytes.byteLength)), 8192)).catch(
            (error) => error.code,
          );
          expect(["hash_mismatch", "invalid_checkpoint"]).toContain(code);
        },
      ),
      { seed: 2, numRuns: 60 },
    );
  });

  it("passes on what the stream itself reports", async () => {
    const broken: OpenFile = async (name) =>
      name === "weights.safetensors"
        ? new ReadableStream({ pull: (controller) => controller.error(new Error("connection lost")) })
        : opener(whole)(name);
    await expect(drain(broken)).rejects.toThrow("connection lost");
  });
});
