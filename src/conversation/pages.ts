// KV pages: a state's windows cut along the conversation instead of around the ring. A page holds keys and values of
// consecutive positions, of all attention layers, and once it is full it never changes, so that snapshots share it.
// Pure arithmetic on bytes; it knows no storage. A block of positions is [layer and k or v][position][kv width].
import { GriffinError } from "../errors.ts";
import { isRing, type State, type StateEntry, type StateLayout } from "../model/state.ts";
import { valueLimitBytes } from "./database.ts";

const maxPageTokens = 64;

/** How a model's state is cut. */
export interface Paging {
  /** W; 0 in a model without attention. */
  window: number;
  /** Positions of a page: a power of two. */
  pageTokens: number;
  /** Keys and values of one position in all layers. */
  positionBytes: number;
  /** Entries that are windows; the others are recurrent. */
  rings: readonly StateEntry[];
  recurrent: readonly StateEntry[];
}

/** Consecutive positions: `from` ≤ p < `to`. */
export interface Positions {
  from: number;
  to: number;
}

/** What a snapshot at a position consists of. */
export interface Cut {
  /** The last W positions: all that will ever be read. */
  window: Positions;
  /** Numbers of the full pages that hold the window's positions. Page n begins at n · pageTokens. */
  pages: Positions;
  /** The window's positions behind the last full page. */
  tail: Positions;
}

/** The largest page of up to 64 positions that fits a row. */
export function pagingOf({ entries }: StateLayout): Paging {
  const rings = entries.filter(isRing);
  const positionBytes = rings.reduce((sum, entry) => sum + rowBytes(entry), 0);
  let pageTokens = maxPageTokens;
  while (pageTokens > 1 && pageTokens * positionBytes > valueLimitBytes) pageTokens /= 2;
  if (pageTokens * positionBytes > valueLimitBytes) {
    throw new GriffinError(
      "unsupported",
      `One position of this model's window has ${positionBytes} bytes; it is stored in one row of at most ${valueLimitBytes}.`,
    );
  }
  const recurrent = entries.filter((entry) => !isRing(entry));
  return { window: rings[0]?.shape[0] ?? 0, pageTokens, positionBytes, rings, recurrent };
}

/** How a state at a position is cut into pages and tail. */
export function cutAt({ window, pageTokens }: Paging, position: number): Cut {
  const lowest = Math.max(0, position - window);
  const fullPages = Math.floor(position / pageTokens);
  return {
    window: { from: lowest, to: position },
    pages: { from: Math.min(Math.floor(lowest / pageTokens), fullPages), to: fullPages },
    tail: { from: Math.max(lowest, fullPages * pageTokens), to: position },
  };
}

/** The positions of a page. */
export function pagePositions({ pageTokens }: Paging, page: number): Positions {
  return { from: page * pageTokens, to: (page + 1) * pageTokens };
}

/** A block of `positions`, read from the state. Those that have left the window are zeros. */
export function readBlock(paging: Paging, state: State, positions: Positions): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array((positions.to - positions.from) * paging.positionBytes);
  for (const { inState, inBlock, bytes } of runs(paging, state.position, positions)) {
    block.set(state.data.subarray(inState, inState + bytes), inBlock);
  }
  return block;
}

/** Writes a block's positions into the state, but for those that have left the window. */
export function writeBlock(paging: Paging, state: State, positions: Positions, block: Uint8Array): void {
  for (const { inState, inBlock, bytes } of runs(paging, state.position, positions)) {
    state.data.set(block.subarray(inBlock, inBlock + bytes), inState);
  }
}

/** Stretches of bytes that lie together in the ring and in the block. */
function* runs({ rings, window }: Paging, position: number, { from, to }: Positions) {
  let ringOffset = 0;
  for (const ring of rings) {
    const row = rowBytes(ring);
    for (let p = Math.max(from, position - window); p < to;) {
      const slot = p % window;
      const count = Math.min(to - p, window - slot);
      yield {
        inState: ring.offsetBytes + slot * row,
        inBlock: ringOffset + (p - from) * row,
        bytes: count * row,
      };
      p += count;
    }
    ringOffset += (to - from) * row;
  }
}

const rowBytes = ({ lengthBytes, shape }: StateEntry) => lengthBytes / shape[0];
