// Rows of a quantised matrix and their scales become one panel, the layout that linear_q and embed_q read (quantized.ts)
//
// Shapes     w [rows, K] int8, or int4 two a byte, low nibble first and K even; scales [rows, blocks] f32;
//            1 ≤ rows ≤ 4; panel [blocks][weights, scales]
// Alignment  none needed
// Aliasing   none
// Tail       missing rows have weights and scales of zero; a block beyond K is filled up with weights of zero
// Tolerance  exact: integers are moved, bits of scales are copied
// Returns    of int8 the largest magnitude: dot products are exact up to 63 (quantized.ts)
// Source     quantized.ts
import { BLOCK, block_bytes, blocks, offset_of, ROWS, weight_bytes } from "./quantized";

/** Packs up to four rows of int8, without their scales. Returns their largest magnitude. */
export function pack_i8(panelPtr: usize, weightPtr: usize, rows: i32, K: i32): i32 {
  let most = 0;
  for (let b = 0; b < blocks(K); b++) {
    const block = panelPtr + <usize>(b * block_bytes<i8>());
    memory.fill(block, <u8>offset_of<i8>(), weight_bytes<i8>());
    const count = min(BLOCK, K - b * BLOCK);
    for (let r = 0; r < rows; r++) {
      const row = weightPtr + <usize>(r * K + b * BLOCK);
      for (let i = 0; i < count; i++) {
        const value = load<i8>(row + i);
        most = max(most, abs(<i32>value));
        store<i8>(block + place(i, r), value + <i8>offset_of<i8>());
      }
    }
  }
  return most;
}

/** Packs up to four rows of int4, without their scales. */
export function pack_i4(panelPtr: usize, weightPtr: usize, rows: i32, K: i32): void {
  for (let b = 0; b < blocks(K); b++) {
    const block = panelPtr + <usize>(b * block_bytes<u8>());
    memory.fill(block, <u8>(offset_of<u8>() * 17), weight_bytes<u8>());
    const count = min(BLOCK, K - b * BLOCK);
    for (let r = 0; r < rows; r++) {
      const row = weightPtr + <usize>((r * K + b * BLOCK) >> 1);
      for (let i = 0; i < count; i++) {
        const nibble = (load<u8>(row + (i >> 1)) >> ((<u8>(i & 1)) << 2)) & 15;
        const at = block + place(i & 15, r);
        const both = load<u8>(at);
        // Adding 8 to four bits of two's complement turns their highest one over.
        const value = nibble ^ 8;
        store<u8>(at, i < 16 ? (both & 0xf0) | value : (both & 15) | (value << 4));
      }
    }
  }
}

/** Puts the scales of up to four rows of int8 into their panel, from the first block's place for them on. */
export function pack_scales_i8(toPtr: usize, scalePtr: usize, rows: i32, count: i32): void {
  pack_scales<i8>(toPtr, scalePtr, rows, count);
}

/** Puts the scales of up to four rows of int4 into their panel, from the first block's place for them on. */
export function pack_scales_i4(toPtr: usize, scalePtr: usize, rows: i32, count: i32): void {
  pack_scales<u8>(toPtr, scalePtr, rows, count);
}

function pack_scales<W>(toPtr: usize, scalePtr: usize, rows: i32, count: i32): void {
  for (let b = 0; b < count; b++) {
    const to = toPtr + <usize>(b * block_bytes<W>());
    for (let r = 0; r < ROWS; r++) {
      const bits = r < rows ? load<u32>(scalePtr + ((<usize>(r * count + b)) << 2)) : 0;
      store<u32>(to + ((<usize>r) << 2), bits);
    }
  }
}

/** Where weight i of row r stands in a block. */
function place(i: i32, r: i32): usize {
  return <usize>(((i >> 2) << 4) + (r << 2) + (i & 3));
}
