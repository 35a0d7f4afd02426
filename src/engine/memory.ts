// Memory of one WASM instance, laid out at load: weights | slots of state | arena.
// A slot holds a State while a turn runs. Its key and value rings are longer than the window, so that a chunk of tokens
// can be written before it is read; outside of a turn a State has the layout of model/state.ts.
import { GriffinError } from "../errors.ts";
import type { Graph, StoredTensor } from "../model/graph.ts";
import { isRing, type State, type StateEntry, type StateLayout } from "../model/state.ts";
import { aligned } from "./arena.ts";
import { packedBytes, packings, type Packing } from "./packing.ts";

/** Of WASM memory. */
export const pageBytes = 65_536;
/** What 32-bit WASM can address. */
export const addressableBytes = 65_536 * pageBytes - pageBytes;
/** Rings are a multiple of the tile in which attention walks keys. */
const ringTile = 32;

/** A weight in memory: as stored, or packed where a kernel wants that. */
export interface WeightRegion extends StoredTensor {
  address: number;
  packing: Packing | undefined;
}

interface SlotEntry extends StateEntry {
  /** From the start of the slot. */
  slotOffset: number;
  /** Entries of the ring in a slot; undefined where the entry is no ring. */
  ringLength?: number;
}

export interface MemoryLayout {
  weights: ReadonlyMap<string, WeightRegion>;
  /** Address of every slot. */
  slots: readonly number[];
  slotEntries: readonly SlotEntry[];
  slotBytes: number;
  ringLength: number;
  arenaPtr: number;
  arenaBytes: number;
  totalBytes: number;
}

export interface MemoryOptions {
  heapBase: number;
  slots: number;
  /** The most tokens one pass reads. */
  chunkTokens: number;
  arenaBytes: number;
  limitBytes: number;
}

/** Addresses for everything a model needs. Throws `model_too_large`, with the numbers, when it does not fit. */
export function layoutMemory(graph: Graph, state: StateLayout, options: MemoryOptions): MemoryLayout {
  let end = aligned(options.heapBase);
  const take = (bytes: number) => {
    const address = end;
    end = aligned(end + bytes);
    return address;
  };

  const packed = packings(graph);
  const weights = new Map<string, WeightRegion>();
  for (const [name, tensor] of graph.initializers) {
    const packing = packed.get(name);
    const address = take(packing === undefined ? tensor.lengthBytes : packedBytes(packing, tensor.shape));
    weights.set(name, { ...tensor, packing, address });
  }
  for (const region of weights.values()) {
    const inside = region.packing?.inside;
    if (inside !== undefined) region.address = (weights.get(inside.matrix)?.address ?? 0) + inside.offsetBytes;
  }
  const weightBytes = end - options.heapBase;

  const window = state.entries.find(isRing)?.shape[0] ?? 0;
  const ringLength = Math.ceil((window + options.chunkTokens) / ringTile) * ringTile;
  let slotBytes = 0;
  const slotEntries = state.entries.map((entry): SlotEntry => {
    const slotOffset = slotBytes;
    const ring = isRing(entry) ? { ringLength } : {};
    slotBytes += aligned(isRing(entry) ? (entry.lengthBytes / window) * ringLength : entry.lengthBytes);
    return { ...entry, slotOffset, ...ring };
  });
  const slots = Array.from({ length: options.slots }, () => take(slotBytes));
  const arenaPtr = take(options.arenaBytes);

  if (!(end <= options.limitBytes)) {
    throw new GriffinError(
      "model_too_large",
      `The model needs ${end} bytes of memory (weights ${weightBytes}, ${options.slots} × state ${slotBytes}, arena ${options.arenaBytes}), ` +
        `but ${options.limitBytes} are allowed: quantize it, read shorter chunks, or serve it from an origin.`,
    );
  }
  return {
    weights,
    slots,
    slotEntries,
    slotBytes,
    ringLength,
    arenaPtr,
    arenaBytes: options.arenaBytes,
    totalBytes: end,
  };
}

/** Grows the memory to the layout's size. */
export function reserve(memory: WebAssembly.Memory, totalBytes: number): void {
  const missingPages = Math.ceil((totalBytes - memory.buffer.byteLength) / pageBytes);
  if (missingPages <= 0) return;
  try {
    memory.grow(missingPages);
  } catch (cause) {
    throw new GriffinError(
      "model_too_large",
      `The host did not give the ${totalBytes} bytes of memory that the model needs.`,
      {
        cause,
      },
    );
  }
}

/** Copies a state into a slot. */
export function restoreState(memory: WebAssembly.Memory, layout: MemoryLayout, slotPtr: number, state: State): void {
  for (const entry of layout.slotEntries) {
    const slot = new Uint8Array(memory.buffer, slotPtr + entry.slotOffset);
    const stored = state.data.subarray(entry.offsetBytes, entry.offsetBytes + entry.lengthBytes);
    if (entry.ringLength === undefined) slot.set(stored);
    else copyRing(stored, entry.shape[0], slot, entry.ringLength, entry, state.position);
  }
}

/** Copies a slot into `state`, whose position says how many tokens the slot has read and whose data is all zero. */
export function saveState(memory: WebAssembly.Memory, layout: MemoryLayout, slotPtr: number, state: State): void {
  for (const entry of layout.slotEntries) {
    const slot = new Uint8Array(memory.buffer, slotPtr + entry.slotOffset);
    const stored = state.data.subarray(entry.offsetBytes, entry.offsetBytes + entry.lengthBytes);
    if (entry.ringLength === undefined) stored.set(slot.subarray(0, entry.lengthBytes));
    else copyRing(slot, entry.ringLength, stored, entry.shape[0], entry, state.position);
  }
}

/** Overwrites a slot with zeros: nothing of a conversation stays behind. */
export function clearSlot(memory: WebAssembly.Memory, layout: MemoryLayout, slotPtr: number): void {
  new Uint8Array(memory.buffer, slotPtr, layout.slotBytes).fill(0);
}

/** Copies the entries of the last W positions before `position` from one ring to another of a different length. */
function copyRing(
  from: Uint8Array,
  fromLength: number,
  to: Uint8Array,
  toLength: number,
  entry: StateEntry,
  position: number,
): void {
  const window = entry.shape[0];
  const rowBytes = entry.lengthBytes / window;
  for (let p = Math.max(0, position - window); p < position;) {
    const fromSlot = p % fromLength;
    const toSlot = p % toLength;
    const run = Math.min(position - p, fromLength - fromSlot, toLength - toSlot);
    to.set(from.subarray(fromSlot * rowBytes, (fromSlot + run) * rowBytes), toSlot * rowBytes);
    p += run;
  }
}
