// Packing: the layout that matrices have in memory, and nothing else's business. A kernel that wants another one changes
// this file and wasm/pack.ts. Now: panels of 8 rows, one element of each row after another, missing rows zero.
import type { OperatorName } from "../model/functions.ts";
import { signatureOf } from "../model/functions.ts";
import type { Graph, StoredTensor } from "../model/graph.ts";
import type { Kernels } from "./kernels.ts";

/** Function → its input that lies in memory as panels. */
const packedInputs: Partial<Record<OperatorName, string>> = { embed: "table", linear: "weight" };

/** Rows of a matrix that are packed together. */
const panelRows = 8;

const rowBytes = (tensor: StoredTensor) => tensor.lengthBytes / (tensor.shape[0] ?? 1);

/** Names of the weights that are packed. */
export function packedWeights(graph: Graph): Set<string> {
  return new Set(
    graph.nodes.flatMap(({ operator, inputs }) =>
      signatureOf(operator).inputs.flatMap((name, i) => (name === packedInputs[operator] ? [inputs[i] ?? ""] : [])),
    ),
  );
}

/** Bytes of one panel: as many rows of the stored matrix have to be together before they can be packed. */
export const panelBytes = (tensor: StoredTensor) => rowBytes(tensor) * panelRows;

/** Bytes of the packed matrix. */
export const packedBytes = (tensor: StoredTensor) =>
  Math.ceil(tensor.lengthBytes / panelBytes(tensor)) * panelBytes(tensor);

/** Packs stored rows at `fromPtr`, a panel's or the last ones of the matrix, to `toPtr`. */
export function packPanel(kernels: Kernels, tensor: StoredTensor, toPtr: number, fromPtr: number, bytes: number): void {
  const pack = tensor.dtype === "bf16" ? kernels.pack_bf16 : kernels.pack_f32;
  pack(toPtr, fromPtr, bytes / rowBytes(tensor), tensor.shape[1] ?? 1);
}
