// Weights on their way into WASM memory: pieces of a file come in, every byte is written once to where a kernel reads
// it. Matrices pass through a staging area of one panel, in which rows wait until eight of them can be interleaved.
import { GriffinError } from "../errors.ts";
import type { WeightPiece } from "../checkpoint/load.ts";
import type { Kernels } from "./kernels.ts";
import type { StoredTensor } from "../model/graph.ts";
import type { WeightRegion } from "./memory.ts";
import { packPanel, panelBytes } from "./packing.ts";

/** Bytes of staging that `storeWeights` needs for matrices like these. */
export function stagingBytes(packed: Iterable<StoredTensor>): number {
  let most = 0;
  for (const tensor of packed) most = Math.max(most, panelBytes(tensor));
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
  for await (const { name, dtype, shape, offsetBytes, bytes } of pieces) {
    const region = weights.get(name);
    if (region === undefined) continue;
    const expected = `${region.dtype.toUpperCase()} [${region.shape.join(", ")}]`;
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
    if (region.isPacked) storeRows(kernels, region, offsetBytes, bytes, stagingPtr);
    else new Uint8Array(kernels.memory.buffer, region.address + offsetBytes).set(bytes);
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

/** Appends bytes of stored rows to a packed matrix; a piece may begin and end anywhere. */
function storeRows(kernels: Kernels, region: WeightRegion, offsetBytes: number, bytes: Uint8Array, stagingPtr: number) {
  const panel = panelBytes(region);
  for (let done = 0; done < bytes.byteLength;) {
    const at = offsetBytes + done;
    const panelStart = at - (at % panel);
    const panelEnd = Math.min(panelStart + panel, region.lengthBytes);
    const take = Math.min(panelEnd - at, bytes.byteLength - done);
    new Uint8Array(kernels.memory.buffer, stagingPtr + at - panelStart, take).set(bytes.subarray(done, done + take));
    done += take;
    if (at + take < panelEnd) continue;
    packPanel(kernels, region, region.address + panelStart, stagingPtr, panelEnd - panelStart);
  }
}
