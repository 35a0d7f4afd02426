// Weights on their way into WASM memory: pieces of a file come in, every byte is written once to where a kernel reads
// it. Matrices pass through a staging area, in which rows wait until those of a panel are together.
import { GriffinError } from "../errors.ts";
import type { WeightPiece } from "../checkpoint/load.ts";
import type { Kernels } from "./kernels.ts";
import type { Graph } from "../model/graph.ts";
import type { WeightRegion } from "./memory.ts";
import { packings, type Packing } from "./packing.ts";

/** Bytes of staging that `storeWeights` needs: stored rows of one panel. */
export function stagingBytes(graph: Graph): number {
  let most = 0;
  for (const [name, { panelRows }] of packings(graph)) {
    const { lengthBytes = 0, shape: [rows = 1] = [] } = graph.initializers.get(name) ?? {};
    most = Math.max(most, (lengthBytes / rows) * panelRows);
  }
  return most;
}

/** Fills every region from the stream, which holds each weight's bytes in order. Throws what the stream throws. */
export async function storeWeights(
  kernels: Kernels,
  weights: ReadonlyMap<string, WeightRegion>,
  pieces: AsyncIterable<WeightPiece>,
  stagingPtr: number,
): Promise<void> {
  const written = new Map<string, number>();
  // One view for all: a view for every panel would be megabytes of garbage.
  const memory = new Uint8Array(kernels.memory.buffer);
  for await (const { name, dtype, shape, offsetBytes, bytes } of pieces) {
    const region = weights.get(name);
    if (region === undefined) continue;
    const expected = `${region.dtype} [${region.shape.join(", ")}]`;
    const got = `${dtype} [${shape.join(", ")}]`;
    if (got !== expected) {
      throw new GriffinError(
        "invalid_checkpoint",
        `Weight "${name}" is ${got} in the weights file, the graph expects ${expected}.`,
      );
    }
    if (offsetBytes !== (written.get(name) ?? 0)) {
      throw new GriffinError("internal", `The pieces of weight "${name}" do not come in order.`);
    }
    written.set(name, offsetBytes + bytes.byteLength);
    if (region.packing === undefined) memory.set(bytes, region.address + offsetBytes);
    else if (!storeRows(kernels, memory, region, region.packing, offsetBytes, bytes, stagingPtr)) {
      throw new GriffinError(
        "invalid_checkpoint",
        `Weight "${name}" has values outside of −63…63, which int8 has here: the file is damaged, or was not converted by griffin.`,
      );
    }
  }
  for (const [name, region] of weights) {
    if (written.get(name) !== region.lengthBytes) {
      throw new GriffinError(
        "invalid_checkpoint",
        `Weight "${name}" has ${written.get(name) ?? 0} bytes in the weights file, the graph expects ${region.lengthBytes}.`,
      );
    }
  }
}

/** Appends bytes of stored rows to panels; a piece may begin and end anywhere. false: not all are of the format. */
function storeRows(
  kernels: Kernels,
  memory: Uint8Array,
  { address, shape: [rows = 1], lengthBytes }: WeightRegion,
  { panelRows, panelBytes, pack }: Packing,
  offsetBytes: number,
  bytes: Uint8Array,
  stagingPtr: number,
): boolean {
  let isGood = true;
  const rowBytes = lengthBytes / rows;
  const storedBytes = rowBytes * panelRows;
  for (let done = 0; done < bytes.byteLength;) {
    const at = offsetBytes + done;
    const panel = Math.floor(at / storedBytes);
    const start = panel * storedBytes;
    const end = Math.min(start + storedBytes, lengthBytes);
    const take = Math.min(end - at, bytes.byteLength - done);
    memory.set(bytes.subarray(done, done + take), stagingPtr + at - start);
    done += take;
    if (at + take === end)
      isGood = pack(kernels, address + panel * panelBytes, stagingPtr, (end - start) / rowBytes) && isGood;
  }
  return isGood;
}
