// Converts a Hugging Face folder to a checkpoint: weights.safetensors, graph.onnx, tokenizer.json and, last, model.json.
// Everything is written under another name and renamed at the end, so no interruption leaves a folder that loads.
// Weights stream through in pieces; the largest thing ever held is one piece or one convolution.
import { GriffinError } from "../errors.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import { type Config, configToJson, parseConfig } from "../model/config.ts";
import { buildGraph } from "../model/build-graph.ts";
import { type StoredTensor, weightsFile } from "../model/graph.ts";
import { encodeModel } from "../model/onnx.ts";
import { type KvDtype, stateLayout } from "../model/state.ts";
import { parseJson } from "../model/parse-json.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { convTaps, type Format, isQuantized, parameterCount, type StoredSpec, storedSpecs } from "../model/weights.ts";
import { cast, tapsFirst } from "./cast.ts";
import { type CreateHash, digestFile, type FileEntry, fileEntry } from "./hash.ts";
import { fileTensor } from "./load.ts";
import { graphFile, type Manifest, manifestFile, manifestVersion, tokenizerFile } from "./manifest.ts";
import { quantized, scalesOf } from "./quantize.ts";
import { dtypeBytes, encodeHeader, type SafetensorsHeader } from "./safetensors.ts";
import { findTensors, readFile, readJson, type Source, type SourceTensor } from "./source.ts";

/** A file being written. */
export interface FileWriter {
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the bytes are safe. */
  close(): Promise<void>;
}

/** A folder to write to. */
export interface Target {
  /** Creates or empties a file. */
  create(file: string): Promise<FileWriter>;
  rename(from: string, to: string): Promise<void>;
  /** Succeeds where there is no such file. */
  remove(file: string): Promise<void>;
}

export interface ConvertOptions {
  /** Default: `bf16` when every matrix of the source is, else `f32`. */
  format?: Format;
  /** What the window of keys and values is stored in. Default: f32 while it is at most 4 MiB, else bf16. */
  kv?: KvDtype;
  /** Source and target are one folder: its tokenizer.json stays as it is. */
  inPlace?: boolean;
  /** Bytes of weights.safetensors written, of how many. */
  onProgress?: (bytesDone: number, bytesTotal: number) => void;
  createHash?: CreateHash;
}

export interface Converted {
  manifest: Manifest;
  /** Tensors of the source that were left out: a head equal in shape to the table it is tied to, recomputed buffers. */
  dropped: readonly string[];
}

/** Elements moved at a time: at most 8 MiB on either side. */
const pieceElements = 2 ** 21;
/** A window up to this size in f32 stays f32. */
const kvF32LimitBytes = 4 * 2 ** 20;

/** Converts `source` to a checkpoint in `target`. Errors name the file, key or tensor at fault. */
export async function convert(source: Source, target: Target, options: ConvertOptions = {}): Promise<Converted> {
  const config = parseConfig(await readJson(source, "config.json"));
  const { tensors, dropped } = await findTensors(source, config);
  const tokenizer = await readTokenizer(source, config);
  const format = options.format ?? defaultFormat(tensors);
  const kv = options.kv ?? defaultKv(config);
  const ordered = inFileOrder(tensors, format);
  const { bytes: head, header, fileBytes } = encodeHeader(ordered.map(({ to }) => fileTensor(to)));
  const places = new Map(ordered.map(({ to }) => [to.name, to]));
  const graph = buildGraph(config, { kv, format, weights: (name) => storedTensor(header, places.get(name)) });

  const staged = stage(target, options.createHash);
  try {
    let doneBytes = 0;
    const weights = await staged.write(weightsFile, weightBytes(source, head, ordered), (bytes) => {
      doneBytes += bytes;
      options.onProgress?.(doneBytes, fileBytes);
    });
    const files: Manifest["files"] = {
      [graphFile]: await staged.write(graphFile, [encodeModel(graph)]),
      [weightsFile]: weights,
    };
    if (tokenizer) {
      files[tokenizerFile] = options.inPlace
        ? fileEntry(tokenizer.bytes, options.createHash)
        : await staged.write(tokenizerFile, [tokenizer.bytes]);
    }
    const manifest = manifestOf({ config, format, kv, chat: tokenizer?.chat ?? null, files });
    await staged.write(manifestFile, [new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`)]);
    await staged.commit();
    return { manifest, dropped };
  } catch (error) {
    await staged.discard();
    throw error;
  }
}

const partial = (name: string) => `${name}.partial`;

/** Files written under temporary names, and put in their places together. */
function stage(target: Target, createHash?: CreateHash) {
  const begun: string[] = [];
  return {
    async write(name: string, pieces: Pieces, onWritten?: (bytes: number) => void): Promise<FileEntry> {
      const digest = digestFile(createHash);
      begun.push(name);
      const file = await target.create(partial(name));
      try {
        for await (const piece of pieces) {
          digest.update(piece);
          await file.write(piece);
          onWritten?.(piece.byteLength);
        }
      } catch (error) {
        await file.close().catch(ignore);
        throw error;
      }
      await file.close();
      return digest.entry();
    },
    /** The manifest goes first and comes back last: without it the folder is no checkpoint. */
    async commit(): Promise<void> {
      await target.remove(manifestFile);
      for (const name of begun) await target.rename(partial(name), name);
    },
    /** Clears away what it can. It never fails: what went wrong first is what the caller must hear. */
    async discard(): Promise<void> {
      for (const name of begun) await target.remove(partial(name)).catch(ignore);
    },
  };
}

const ignore = () => undefined;

type Pieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

function defaultFormat(tensors: readonly SourceTensor[]): Format {
  return tensors.every(({ spec, dtype }) => !spec.matrix || dtype === "BF16") ? "bf16" : "f32";
}

/** Rounding the window to bf16 is worth it only where the window is large. */
function defaultKv(config: Config): KvDtype {
  const windows = stateLayout(config, "f32").entries.filter(({ name }) => /\.(keys|values)$/.test(name));
  const bytes = windows.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  return bytes <= kvF32LimitBytes ? "f32" : "bf16";
}

interface Move extends SourceTensor {
  to: StoredSpec;
  /** What is stored of whole rows. */
  make: (bytes: Uint8Array) => Uint8Array;
}

/** Execution order, f32 before all else: so every f32 is 4-byte aligned without the holes that safetensors forbids. */
function inFileOrder(tensors: readonly SourceTensor[], format: Format): Move[] {
  const moves = tensors.flatMap((tensor) => movesOf(tensor, format));
  return [...moves.filter(({ to }) => to.dtype === "f32"), ...moves.filter(({ to }) => to.dtype !== "f32")];
}

/** A quantised matrix is read twice: for its scales, and for its integers. */
function movesOf(tensor: SourceTensor, format: Format): Move[] {
  const { spec, dtype: from } = tensor;
  const [to, scales] = storedSpecs(spec, format);
  const { dtype } = to;
  if (!isQuantized(dtype))
    return [{ ...tensor, to, make: (bytes) => cast(bytes, from, dtype === "f32" ? "F32" : "BF16") }];
  const [, columns = 1] = spec.shape;
  if (dtype === "i4" && columns % 2 !== 0) {
    throw new GriffinError(
      "unsupported",
      `"${spec.name}" has rows of ${columns} values; int4 is stored two a byte and needs an even number. Use int8.`,
    );
  }
  const values = (bytes: Uint8Array) => new Float32Array(new Uint8Array(cast(bytes, from, "F32")).buffer);
  const integers: Move = {
    ...tensor,
    to,
    make: (bytes) => quantized(values(bytes), columns, dtype),
  };
  const blockScales = (bytes: Uint8Array) => new Uint8Array(scalesOf(values(bytes), columns, dtype).buffer);
  return scales === undefined ? [integers] : [{ ...tensor, to: scales, make: blockScales }, integers];
}

async function* weightBytes(source: Source, head: Uint8Array, moves: readonly Move[]) {
  yield head;
  for (const { file, dtype, spec, offsetBytes, lengthBytes, transpose, make } of moves) {
    if (transpose) {
      yield tapsFirst(make(await source.read(file, offsetBytes, lengthBytes)), convTaps);
      continue;
    }
    const rowBytes = (spec.matrix ? (spec.shape[1] ?? 1) : 1) * dtypeBytes[dtype];
    const pieceBytes = Math.max(1, Math.floor((pieceElements * dtypeBytes[dtype]) / rowBytes)) * rowBytes;
    for (let at = 0; at < lengthBytes; at += pieceBytes) {
      yield make(await source.read(file, offsetBytes + at, Math.min(pieceBytes, lengthBytes - at)));
    }
  }
}

function storedTensor(header: SafetensorsHeader, spec: StoredSpec | undefined): StoredTensor {
  const entry = spec && header.tensors.get(spec.name);
  if (spec === undefined || entry === undefined)
    throw new GriffinError("internal", `No place was planned for tensor "${spec?.name}".`);
  return {
    dtype: spec.dtype,
    shape: spec.shape,
    offsetBytes: header.dataStartBytes + entry.beginBytes,
    lengthBytes: entry.endBytes - entry.beginBytes,
  };
}

/** The source's tokenizer.json, if it has one, once it is known to work and to fit the model. */
async function readTokenizer(source: Source, config: Config) {
  if ((await source.size(tokenizerFile)) === null) return null;
  const bytes = await readFile(source, tokenizerFile);
  const tokenizer = new Tokenizer(parseJson(new TextDecoder().decode(bytes), tokenizerFile, "invalid_checkpoint"));
  if (tokenizer.size > config.vocabSize) {
    throw new GriffinError(
      "invalid_checkpoint",
      `${tokenizerFile}: token id ${tokenizer.size - 1} is not below the model's vocab_size ${config.vocabSize}.`,
    );
  }
  return { bytes, chat: chatTokens(tokenizer, config) };
}

/** null where the tokenizer has no turn tokens: a model that was not made for chats. */
function chatTokens(tokenizer: Tokenizer, config: Config): ChatTokens | null {
  const startOfTurnTokenId = tokenizer.idOf("<start_of_turn>");
  const endOfTurnTokenId = tokenizer.idOf("<end_of_turn>");
  if (startOfTurnTokenId === undefined || endOfTurnTokenId === undefined) return null;
  const bosTokenId = tokenizer.idOf("<bos>") ?? config.bosTokenId;
  if (bosTokenId !== config.bosTokenId) {
    throw new GriffinError(
      "invalid_checkpoint",
      `${tokenizerFile}: <bos> is token ${bosTokenId}, but config.json has "bos_token_id" ${config.bosTokenId}.`,
    );
  }
  return { bosTokenId, startOfTurnTokenId, endOfTurnTokenId };
}

function manifestOf(parts: {
  config: Config;
  format: Format;
  kv: KvDtype;
  chat: ChatTokens | null;
  files: Manifest["files"];
}): Manifest {
  const { config, format, kv, chat } = parts;
  return {
    griffin: manifestVersion,
    config: configToJson(config),
    format,
    kv,
    parameters: parameterCount(config),
    state_bytes: stateLayout(config, kv).totalBytes,
    chat: chat && {
      bos_token_id: chat.bosTokenId,
      start_of_turn_token_id: chat.startOfTurnTokenId,
      end_of_turn_token_id: chat.endOfTurnTokenId,
    },
    stop_token_ids: [...new Set([...config.eosTokenIds, ...(chat ? [chat.endOfTurnTokenId] : [])])],
    files: parts.files,
  };
}
