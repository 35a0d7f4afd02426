// State: everything a conversation carries in the model, and its layout in bytes.
// The layout is that of the graph's state inputs, one after another: RG-LRU h [R] and convolution inputs [3, R] of
// every recurrent block, keys and values [W, kv heads · H] of every attention block (rings: position p in slot p mod W).
import { GriffinError } from "../errors.ts";
import type { Config } from "./config.ts";

export type KvDtype = "f32" | "bf16";

/** Positions are int32 in the graph. */
export const maxPosition = 2 ** 31 - 1;

/** One state input of the graph; `name + ".out"` is the output that replaces it. */
export interface StateEntry {
  /** `layers.{i}.rg_lru`, `.conv1d`, `.keys` or `.values` */
  name: string;
  /** What a stored element is; the graph itself always sees f32. */
  dtype: KvDtype;
  shape: readonly [number] | readonly [number, number];
  offsetBytes: number;
  lengthBytes: number;
}

export interface StateLayout {
  entries: readonly StateEntry[];
  totalBytes: number;
}

/** A conversation's state after `position` tokens. Unused ring slots are zero. */
export interface State {
  position: number;
  /** The entries of the model's StateLayout. */
  data: Uint8Array<ArrayBuffer>;
}

const bytesOf = { f32: 4, bf16: 2 } as const satisfies Record<KvDtype, number>;

/** The layout of a model's state: fixed by its config and by what its window is stored in. */
export function stateLayout(config: Config, kv: KvDtype): StateLayout {
  const entries: StateEntry[] = [];
  let offsetBytes = 0;
  const add = (name: string, dtype: KvDtype, shape: StateEntry["shape"]) => {
    const lengthBytes = shape.reduce((product: number, dim) => product * dim, bytesOf[dtype]);
    entries.push({ name, dtype, shape, offsetBytes, lengthBytes });
    offsetBytes += lengthBytes;
  };
  config.blockTypes.forEach((type, i) => {
    if (type === "recurrent") {
      add(`layers.${i}.rg_lru`, "f32", [config.lruWidth]);
      add(`layers.${i}.conv1d`, "f32", [3, config.lruWidth]);
    } else {
      const kvWidth = config.numKvHeads * config.headDim;
      add(`layers.${i}.keys`, kv, [config.window, kvWidth]);
      add(`layers.${i}.values`, kv, [config.window, kvWidth]);
    }
  });
  return { entries, totalBytes: offsetBytes };
}

/** Whether an entry is a ring of the window's positions, and not replaced whole by every token. */
export const isRing = ({ name }: StateEntry): boolean => name.endsWith(".keys") || name.endsWith(".values");

/** The state of a conversation that has read nothing. */
export function emptyState(layout: StateLayout): State {
  return { position: 0, data: new Uint8Array(layout.totalBytes) };
}

/** Refuses a state that cannot be this model's. */
export function checkState(layout: StateLayout, state: State): void {
  if (state.data.byteLength !== layout.totalBytes) {
    throw new GriffinError(
      "invalid_state",
      `The state holds ${state.data.byteLength} bytes, but this model's is ${layout.totalBytes}: it belongs to another model.`,
    );
  }
  if (!Number.isSafeInteger(state.position) || state.position < 0 || state.position > maxPosition) {
    throw new GriffinError(
      "invalid_state",
      `The state's position must be an integer from 0 to ${maxPosition}, got ${state.position}.`,
    );
  }
}

/** The values of one entry of a state, as f32. */
export function entryValues(state: State, entry: StateEntry): Float32Array<ArrayBuffer> {
  const bytes = state.data.slice(entry.offsetBytes, entry.offsetBytes + entry.lengthBytes);
  if (entry.dtype === "f32") return new Float32Array(bytes.buffer);
  const wide = Uint32Array.from(new Uint16Array(bytes.buffer), (bits) => bits << 16);
  return new Float32Array(wide.buffer);
}
