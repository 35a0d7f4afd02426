// Packing: the layout that matrices have in memory, and nothing else's business. A kernel that wants another one changes
// this file and wasm/pack*.ts. f32 and bf16: panels of 8 rows, one element of each row after another. int8 and int4:
// panels of 4 rows, 32 elements of each row and then their scales. Missing rows are zero.
import { GriffinError } from "../errors.ts";
import type { OperatorName } from "../model/functions.ts";
import { signatureOf } from "../model/functions.ts";
import type { Graph, GraphNode, StoredTensor } from "../model/graph.ts";
import { blockSize, type ElementType } from "../model/weights.ts";
import type { Kernels } from "./kernels.ts";

/** How the stored rows of a matrix, or of its scales, become panels. */
export interface Packing {
  /** Rows that are packed together. */
  panelRows: number;
  /** Bytes of a panel in memory, scales included. */
  panelBytes: number;
  /** The matrix in whose panels these scales lie, and where; undefined of matrices. */
  inside?: { matrix: string; offsetBytes: number };
  /** Packs `rows` stored rows, a panel's or the last ones of the matrix. false: a value is outside of the format. */
  pack(kernels: Kernels, toPtr: number, fromPtr: number, rows: number): boolean;
}

/** The matrices of functions, and their scales; which element types a function multiplies by. */
const matrices: Partial<Record<OperatorName, { matrix: string; scales?: string; dtypes: readonly ElementType[] }>> = {
  embed: { matrix: "table", dtypes: ["f32", "bf16"] },
  embed_q: { matrix: "table", scales: "block_scale", dtypes: ["i8", "i4"] },
  linear: { matrix: "weight", dtypes: ["f32", "bf16"] },
  linear_q: { matrix: "weight", scales: "block_scale", dtypes: ["i8", "i4"] },
};

/** Bytes of 32 elements of four rows, without and with their scales. */
const blockBytes = { i8: { weights: 128, all: 144 }, i4: { weights: 64, all: 80 } };

/** Seven bits: products of larger ones would not add up exactly in every build. */
const mostInt8 = 63;

/** The packing of every weight that is packed. Throws `invalid_graph` for weights that are no matrices of their functions. */
export function packings(graph: Graph): Map<string, Packing> {
  const all = new Map<string, Packing>();
  for (const node of graph.nodes) {
    const rule = matrices[node.operator];
    if (rule === undefined) continue;
    const [name, matrix] = weightOf(graph, node, rule.matrix);
    if (!rule.dtypes.includes(matrix.dtype))
      refuse(node, `"${name}" is ${matrix.dtype}, not ${rule.dtypes.join(" or ")}`);
    all.set(name, packingOf(matrix));
    if (rule.scales === undefined) continue;
    const [scaleName, scales] = weightOf(graph, node, rule.scales);
    const known = all.get(scaleName);
    if (scales.dtype !== "f32" || (known !== undefined && known.inside?.matrix !== name)) {
      refuse(node, `"${scaleName}" are not the f32 scales of "${name}" alone`);
    }
    all.set(scaleName, scalePacking(node, name, matrix, scales));
  }
  return all;
}

/** Bytes of a packed matrix; none of scales, which lie in another's panels. */
export const packedBytes = ({ panelRows, panelBytes, inside }: Packing, [rows = 0]: readonly number[]): number =>
  inside === undefined ? Math.ceil(rows / panelRows) * panelBytes : 0;

function weightOf(graph: Graph, node: GraphNode, input: string): [name: string, tensor: StoredTensor] {
  const name = node.inputs[signatureOf(node.operator).inputs.indexOf(input)] ?? "";
  const tensor = graph.initializers.get(name);
  if (tensor === undefined) refuse(node, `its ${input} "${name}" is not a weight`);
  return [name, tensor];
}

function packingOf({ dtype, shape: [, columns = 1] }: StoredTensor): Packing {
  if (dtype === "i8" || dtype === "i4") {
    const panelBytes = Math.ceil(columns / blockSize) * blockBytes[dtype].all;
    return {
      panelRows: 4,
      panelBytes,
      // Of int8 this is the largest magnitude; all of int4 are good.
      pack: (kernels, ...at) => (kernels[`pack_${dtype}`](...at, columns) ?? 0) <= mostInt8,
    };
  }
  return {
    panelRows: 8,
    panelBytes: columns * 8 * (dtype === "f32" ? 4 : 2),
    pack(kernels, ...at) {
      kernels[`pack_${dtype}`](...at, columns);
      return true;
    },
  };
}

function scalePacking(node: GraphNode, matrixName: string, matrix: StoredTensor, scales: StoredTensor): Packing {
  const { dtype } = matrix;
  const blocks = Math.ceil((matrix.shape[1] ?? 0) / blockSize);
  if (scales.shape[1] !== blocks || (dtype !== "i8" && dtype !== "i4")) {
    refuse(
      node,
      `the scales of "${matrixName}" must be [${matrix.shape[0]}, ${blocks}], got [${scales.shape.join(", ")}]`,
    );
  }
  return {
    ...packingOf(matrix),
    inside: { matrix: matrixName, offsetBytes: blockBytes[dtype].weights },
    pack(kernels, ...at) {
      kernels[`pack_scales_${dtype}`](...at, blocks);
      return true;
    },
  };
}

function refuse({ name, operator }: GraphNode, what: string): never {
  throw new GriffinError("invalid_graph", `Node "${name}" (${operator}): ${what}.`);
}
