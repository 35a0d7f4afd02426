// The 30 M Griffin as onnxruntime users quantise models: our f32 graph.onnx with every matrix product replaced by the
// standard's MatMulInteger on dynamically quantised activations, as quantize_dynamic writes it, or by onnxruntime's own
// MatMulNBits. The weights are those of our checkpoint; all that is not a matrix product stays as it is.
import { link, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { graphFile } from "../../src/checkpoint/manifest.ts";
import { weightsFile } from "../../src/model/graph.ts";
import {
  AttributeType,
  DataType,
  decodeModel,
  encodeModel,
  type AttributeProto,
  type NodeProto,
  type TensorProto,
} from "../../src/model/onnx.ts";
import { checkpointFolder, type ModelName } from "../models.ts";

export type Scheme = "f32" | "dynamic int8" | "MatMulNBits int8" | "MatMulNBits int4";

const uint8 = 2;
const blockSize = 32;
/** MatMulNBits computes with activations of int8, its fastest way. */
const int8Activations = 4;

/** A folder with graph.onnx and the weights it points into; those of other schemes lie inside that of our checkpoint. */
export async function onnxFolder(model: ModelName, scheme: Scheme): Promise<string> {
  const source = await checkpointFolder(model, "f32");
  if (scheme === "f32") return source;
  const folder = path.join(source, scheme.replaceAll(" ", "-"));
  if ((await stat(path.join(folder, graphFile)).catch(() => null)) !== null) return folder;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await link(path.join(source, weightsFile), path.join(folder, weightsFile));
  const weights = new Uint8Array(await readFile(path.join(source, weightsFile)));
  await writeFile(
    path.join(folder, graphFile),
    quantizedGraph(await readFile(path.join(source, graphFile)), weights, scheme),
  );
  return folder;
}

/** The graph with its matrices quantised. */
function quantizedGraph(graphBytes: Uint8Array, weights: Uint8Array, scheme: Exclude<Scheme, "f32">): Uint8Array {
  const model = decodeModel(graphBytes);
  const { graph } = model;
  if (graph === undefined) throw new Error("The model has no graph.");
  const nodes: NodeProto[] = [];
  const added = new Map<string, TensorProto>();
  for (const each of graph.node ?? []) {
    if (each.opType !== "linear") {
      nodes.push(each);
      continue;
    }
    const [x = "", weight = "", bias = ""] = each.input ?? [];
    const [y = ""] = each.output ?? [];
    const matrix = readMatrix(graph.initializer ?? [], weight, weights);
    const product = { x, y, weight, bias, matrix };
    const known = new Set(nodes.map(({ name }) => name));
    const made =
      scheme === "dynamic int8" ? dynamicInt8(product) : matMulNBits(product, scheme === "MatMulNBits int8" ? 8 : 4);
    // The quantised x of one product serves the next one.
    nodes.push(...made.nodes.filter(({ name }) => name === undefined || !known.has(name)));
    for (const tensor of made.tensors) added.set(tensor.name ?? "", tensor);
  }
  const used = new Set(nodes.flatMap(({ input }) => input ?? []));
  graph.node = nodes;
  graph.initializer = [...(graph.initializer ?? []).filter(({ name }) => used.has(name ?? "")), ...added.values()];
  model.opsetImport = [...(model.opsetImport ?? []), { domain: "com.microsoft", version: 1 }];
  return encodeModel(model);
}

interface Matrix {
  rows: number;
  columns: number;
  values: Float32Array;
}

interface Product {
  x: string;
  y: string;
  weight: string;
  bias: string;
  matrix: Matrix;
}

interface Replacement {
  nodes: NodeProto[];
  tensors: TensorProto[];
}

function readMatrix(initializers: readonly TensorProto[], name: string, weights: Uint8Array): Matrix {
  const tensor = initializers.find((each) => each.name === name);
  const [rows = 0, columns = 0] = tensor?.dims ?? [];
  const offset = Number(tensor?.externalData?.find(({ key }) => key === "offset")?.value);
  const bytes = weights.slice(offset, offset + 4 * rows * columns);
  return { rows, columns, values: new Float32Array(bytes.buffer) };
}

/** DynamicQuantizeLinear and MatMulInteger, one scale a column of the transposed matrix. */
function dynamicInt8({ x, y, weight, bias, matrix: { rows, columns, values } }: Product): Replacement {
  const transposed = new Int8Array(rows * columns);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const from = values.subarray(row * columns, (row + 1) * columns);
    const scale = from.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
    scales[row] = scale;
    from.forEach((value, k) => (transposed[k * rows + row] = Math.round(value / scale)));
  }
  const [q, scaleName] = [`${weight}_int8`, `${weight}_channel_scale`];
  const quantized = [`${x}_q`, `${x}_scale`, `${x}_zero_point`] as const;
  const product = bias === "" ? y : `${y}_product`;
  return {
    nodes: [
      { ...node("DynamicQuantizeLinear", [x], [...quantized]), name: `${x}_quantize` },
      node("MatMulInteger", [quantized[0], q, quantized[2]], [`${y}_i32`]),
      node("Cast", [`${y}_i32`], [`${y}_cast`], [intAttribute("to", DataType.float)]),
      node("Mul", [quantized[1], scaleName], [`${y}_factor`]),
      node("Mul", [`${y}_cast`, `${y}_factor`], [product]),
      ...(bias === "" ? [] : [node("Add", [product, bias], [y])]),
    ],
    tensors: [tensor(q, DataType.int8, [columns, rows], transposed), tensor(scaleName, DataType.float, [rows], scales)],
  };
}

/** Blocks of 32 along K, one scale each, values around 128 or 8. */
function matMulNBits({ x, y, weight, bias, matrix: { rows, columns, values } }: Product, bits: 8 | 4): Replacement {
  const blocks = values.length / blockSize;
  const middle = 2 ** (bits - 1);
  const scales = new Float32Array(blocks);
  const packed = new Uint8Array((values.length * bits) / 8);
  for (let block = 0; block < blocks; block++) {
    const from = values.subarray(block * blockSize, (block + 1) * blockSize);
    const scale = from.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / (middle - 1);
    scales[block] = scale;
    from.forEach((value, i) => {
      const stored = Math.round(value / scale) + middle;
      const at = block * blockSize + i;
      if (bits === 8) packed[at] = stored;
      else packed[at >> 1] = (packed[at >> 1] ?? 0) | (stored << (4 * (at & 1)));
    });
  }
  const [q, scaleName] = [`${weight}_int${bits}`, `${weight}_block_scale`];
  const attributes = { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: int8Activations };
  const call = node(
    "MatMulNBits",
    bias === "" ? [x, q, scaleName] : [x, q, scaleName, "", "", bias],
    [y],
    Object.entries(attributes).map(([name, value]) => intAttribute(name, value)),
  );
  return {
    nodes: [{ ...call, domain: "com.microsoft" }],
    tensors: [
      tensor(q, uint8, [rows, columns / blockSize, (blockSize * bits) / 8], packed),
      tensor(scaleName, DataType.float, [blocks], scales),
    ],
  };
}

const node = (opType: string, input: string[], output: string[], attribute: AttributeProto[] = []): NodeProto => ({
  opType,
  input,
  output,
  attribute,
});

const intAttribute = (name: string, i: number): AttributeProto => ({ name, i, type: AttributeType.int });

const tensor = (
  name: string,
  dataType: number,
  dims: number[],
  { buffer }: { buffer: ArrayBufferLike },
): TensorProto => ({
  name,
  dataType,
  dims,
  rawData: new Uint8Array(buffer as ArrayBuffer),
});
