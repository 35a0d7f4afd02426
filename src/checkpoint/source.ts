// The source of a conversion: a Hugging Face folder with config.json and model.safetensors, whole or in shards.
// Finds every tensor of the Config and refuses whatever does not belong; reads headers only, never data.
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import { weightsFile } from "../model/graph.ts";
import { checkShape, parseJson } from "../model/parse-json.ts";
import { convTaps, type WeightSpec, weightSpecs } from "../model/weights.ts";
import { type SourceDtype, sourceDtypes } from "./cast.ts";
import {
  headerLength,
  headerLengthBytes,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors.ts";

/** Bytes [offset, offset + length) of a file; fails if the file has fewer. */
export type ReadRange = (file: string, offsetBytes: number, lengthBytes: number) => Promise<Uint8Array>;
/** A file's size; null where there is no such file. */
export type FileSize = (file: string) => Promise<number | null>;

/** A folder to read from. */
export interface Source {
  size: FileSize;
  read: ReadRange;
}

/** Where one weight lies in the source. */
export interface SourceTensor {
  spec: WeightSpec;
  dtype: SourceDtype;
  file: string;
  /** From the start of the file. */
  offsetBytes: number;
  lengthBytes: number;
  /** Stored as [R, 1, 4] or [R, 4, 1], wanted as [4, R]. */
  transpose: boolean;
}

export interface SourceTensors {
  /** In execution order. */
  tensors: readonly SourceTensor[];
  /** Names of the tensors left out, which no computation needs. */
  dropped: readonly string[];
}

const configFile = "config.json";
const singleFile = "model.safetensors";
const indexFile = "model.safetensors.index.json";
/** Buffers that some exporters save, and everyone recomputes. */
const recomputed = /(^|\.)(rotary_emb\.inv_freq|normalizer)$/;
const headName = "lm_head.weight";

const bad = (message: string) => new GriffinError("invalid_checkpoint", message);
const shape = (entry: { shape: readonly number[] }) => `[${entry.shape.join(", ")}]`;

/** The bytes of a whole file; `not_found` where there is none. */
export async function readFile(source: Source, file: string): Promise<Uint8Array> {
  const size = await source.size(file);
  if (size === null) throw new GriffinError("not_found", `The source folder has no ${file}, or does not exist.`);
  return source.read(file, 0, size);
}

/** The parsed value of a JSON file. */
export async function readJson(source: Source, file: string): Promise<unknown> {
  const code = file === configFile ? "invalid_config" : "invalid_checkpoint";
  return parseJson(new TextDecoder().decode(await readFile(source, file)), file, code);
}

/** Every weight of `config` in the source. Fails with `invalid_checkpoint`, naming the tensor and its file. */
export async function findTensors(source: Source, config: Config): Promise<SourceTensors> {
  const stored = await storedTensors(source);
  const dropped: string[] = [];
  const specs = weightSpecs(config);
  const table = specs.find((spec) => spec.name === "embed_tokens.weight");
  const tensors = specs.map((spec): SourceTensor => {
    const found = stored.get(spec.name);
    if (found === undefined) throw bad(`Tensor "${spec.name}" is missing; the source has ${stored.size} tensors.`);
    stored.delete(spec.name);
    return sourceTensor(spec, found);
  });
  for (const [name, found] of stored) {
    const tiedHead = config.tied && name === headName && table !== undefined && shape(found.entry) === shape(table);
    if (!tiedHead && !recomputed.test(name)) {
      throw bad(`${found.file}: tensor "${found.name}" ${shape(found.entry)} has no place in this model.`);
    }
    dropped.push(found.name);
  }
  return { tensors, dropped };
}

interface Stored {
  /** As the file spells it. */
  name: string;
  file: string;
  header: SafetensorsHeader;
  entry: TensorEntry;
}

function sourceTensor(spec: WeightSpec, { name, file, header, entry }: Stored): SourceTensor {
  const dtype = sourceDtypes.find((known) => known === entry.dtype);
  if (dtype === undefined) {
    throw bad(`${file}: tensor "${name}" must be ${sourceDtypes.join(", ")}; got ${entry.dtype}.`);
  }
  const transpose = spec.name.endsWith("conv_1d.weight");
  const rows = spec.shape[1] ?? 0;
  const wanted = transpose ? [`[${rows}, 1, ${convTaps}]`, `[${rows}, ${convTaps}, 1]`] : [shape(spec)];
  if (!wanted.includes(shape(entry))) {
    throw bad(`${file}: tensor "${name}" must be ${wanted.join(" or ")}, got ${shape(entry)}.`);
  }
  const offsetBytes = header.dataStartBytes + entry.beginBytes;
  return { spec, dtype, file, offsetBytes, lengthBytes: entry.endBytes - entry.beginBytes, transpose };
}

/** Tensors of all files by our name: Hugging Face's without `model.`. */
async function storedTensors(source: Source): Promise<Map<string, Stored>> {
  const listed = await shardsOf(source);
  const stored = new Map<string, Stored>();
  for (const [file, names] of listed) {
    const header = await readHeader(source, file);
    const absent = names?.find((name) => !header.tensors.has(name));
    if (absent !== undefined)
      throw bad(`${file}: tensor "${absent}" is missing, though ${indexFile} says it is there.`);
    for (const [name, entry] of header.tensors) {
      const ours = name.replace(/^model\./, "");
      const other = stored.get(ours);
      if (other) throw bad(`Tensor "${name}" of ${file} is there twice: also as "${other.name}" of ${other.file}.`);
      stored.set(ours, { name, file, header, entry });
    }
  }
  return stored;
}

const index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** The files with weights, and the tensors that the index promises of each; null where there is no index. */
async function shardsOf(source: Source): Promise<Map<string, string[] | null>> {
  if ((await source.size(singleFile)) !== null) return new Map([[singleFile, null]]);
  if ((await source.size(indexFile)) === null) {
    throw new GriffinError("not_found", `The source folder has neither ${singleFile} nor ${indexFile}.`);
  }
  const { weight_map: map } = checkShape(index, await readJson(source, indexFile), indexFile, "invalid_checkpoint");
  const shards = new Map<string, string[]>();
  for (const [name, file] of Object.entries(map)) {
    const names = shards.get(file) ?? [];
    names.push(name);
    shards.set(file, names);
  }
  for (const file of shards.keys()) {
    // A shard is a file of this folder, and not one that a conversion writes into it.
    if (!/^[^/\\]+\.safetensors$/.test(file) || file === weightsFile) {
      throw bad(`${indexFile}: "${file}" is not a name a shard may have.`);
    }
  }
  return shards;
}

async function readHeader(source: Source, file: string): Promise<SafetensorsHeader> {
  const size = await source.size(file);
  if (size === null) throw new GriffinError("not_found", `${file} does not exist, though ${indexFile} names it.`);
  const length = headerLength(await source.read(file, 0, Math.min(size, headerLengthBytes)), size, file);
  return parseHeader(await source.read(file, headerLengthBytes, length), size, file);
}
