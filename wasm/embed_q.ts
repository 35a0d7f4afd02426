// y[t] = (q[token[t]] · scale[token[t], block]) · scale
//
// Shapes     tokens [T] i32, table [V, D] int8 or int4 with scales [V, blocks] f32, in panels of 4 rows (quantized.ts);
//            y [T, D] f32
// Alignment  none needed
// Aliasing   none
// Tail       none: elements are gathered one by one
// Tolerance  two roundings
// Source     recurrentgemma, modules.py: Embedder.encode, of the table that the scales give back
import { block_bytes, blocks, offset_of, weight_bytes } from "./quantized";

/** Looks up rows of a table of int8. */
export function embed_i8(yPtr: usize, tokensPtr: usize, tablePtr: usize, T: i32, D: i32, scale: f32): void {
  embed<i8>(yPtr, tokensPtr, tablePtr, T, D, scale);
}

/** Looks up rows of a table of int4. */
export function embed_i4(yPtr: usize, tokensPtr: usize, tablePtr: usize, T: i32, D: i32, scale: f32): void {
  embed<u8>(yPtr, tokensPtr, tablePtr, T, D, scale);
}

function embed<W>(yPtr: usize, tokensPtr: usize, tablePtr: usize, T: i32, D: i32, scale: f32): void {
  const panelBytes = <usize>(blocks(D) * block_bytes<W>());
  for (let t = 0; t < T; t++) {
    const token = load<i32>(tokensPtr + ((<usize>t) << 2));
    const row = token & 3;
    const panel = tablePtr + <usize>(token >> 2) * panelBytes;
    for (let d = 0; d < D; d++) {
      const block = panel + <usize>((d >> 5) * block_bytes<W>());
      const q = <f32>value<W>(block + ((<usize>row) << 2), d & 31);
      const rowScale = load<f32>(block + weight_bytes<W>() + ((<usize>row) << 2));
      store<f32>(yPtr, q * rowScale * scale);
      yPtr += 4;
    }
  }
}

/** Value i of a block, of the row whose first bytes are at `row`. */
function value<W>(row: usize, i: i32): i32 {
  if (isSigned<W>()) return <i32>load<u8>(row + <usize>(((i >> 2) << 4) + (i & 3))) - offset_of<W>();
  const both = <i32>load<u8>(row + <usize>((((i & 15) >> 2) << 4) + (i & 3)));
  return (i < 16 ? both & 15 : both >> 4) - offset_of<W>();
}
