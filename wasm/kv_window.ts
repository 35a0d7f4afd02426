// The KV window in memory: a ring of heads in f32 or bf16, position p in slot p mod ringLength. This file knows the two
// dtypes and where a position lies; local_attention.ts knows which positions a query sees.
//
// Rows are read a tile at a time. Tiles begin at multiples of TILE, and ringLength is one, so that no tile wraps.

export const TILE: usize = 32;

/** Bytes of `count` f32 rounded up to whole vectors: a head in scratch, padded with zeros. */
export function vector_bytes(count: i32): usize {
  return ((<usize>count + 3) & ~3) << 2;
}

/** Bytes of `count` elements of the ring. */
export function kv_bytes(count: i32, bf16: bool): usize {
  return (<usize>count) << (bf16 ? 1 : 2);
}

/** Stores one head of f32 in the ring, rounded to its dtype. */
export function keep_head(ringPtr: usize, headPtr: usize, headDim: i32, bf16: bool): void {
  if (bf16) {
    for (let d: usize = 0; d < <usize>headDim; d++) {
      store<u16>(ringPtr + (d << 1), round_bf16(load<u32>(headPtr + (d << 2))));
    }
  } else memory.copy(ringPtr, headPtr, (<usize>headDim) << 2);
}

/** Bytes from one row to the next of what open_rows returns. */
export function row_stride(slotBytes: usize, headDim: i32, bf16: bool): usize {
  return walks_in_place(headDim, bf16) ? slotBytes : vector_bytes(headDim);
}

/** The rows of positions `from` to `to` of one tile, of the head that begins at ringPtr in slot 0: f32 in whole vectors.
 *  They stay where they are if they are that, and are copied to tilePtr if not. Returns where the tile's row 0 is; rows
 *  other than those asked for hold anything. */
export function open_rows(
  tilePtr: usize,
  ringPtr: usize,
  from: usize,
  to: usize,
  ringLength: usize,
  slotBytes: usize,
  headDim: i32,
  bf16: bool,
): usize {
  const rowsPtr = ringPtr + ((from % ringLength) & ~(TILE - 1)) * slotBytes;
  if (walks_in_place(headDim, bf16)) return rowsPtr;
  for (let p = from; p <= to; p++) {
    const row = p & (TILE - 1);
    widen_head(tilePtr + row * vector_bytes(headDim), rowsPtr + row * slotBytes, headDim, bf16);
  }
  return tilePtr;
}

function walks_in_place(headDim: i32, bf16: bool): bool {
  return !bf16 && (headDim & 3) == 0;
}

function widen_head(headPtr: usize, ringPtr: usize, headDim: i32, bf16: bool): void {
  if (!bf16) return memory.copy(headPtr, ringPtr, (<usize>headDim) << 2);
  let d = 0;
  for (; d + 4 <= headDim; d += 4) {
    v128.store(headPtr + ((<usize>d) << 2), i32x4.shl(v128.load16x4_u(ringPtr + ((<usize>d) << 1)), 16));
  }
  for (; d < headDim; d++) store<u32>(headPtr + ((<usize>d) << 2), (<u32>load<u16>(ringPtr + ((<usize>d) << 1))) << 16);
}

/** The bits of an f32 as the nearest bf16, ties to even; NaN stays NaN. */
function round_bf16(bits: u32): u16 {
  if ((bits & 0x7fffffff) > 0x7f800000) return <u16>((bits >> 16) | 0x40);
  return <u16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
