// y[t] = table[token[t]] · scale
//
// Shapes     tokens [T] i32, table [V, D] in panels of 8 rows (pack.ts), f32 or bf16; y [T, D] f32
// Alignment  none needed
// Aliasing   none
// Tail       none: elements are gathered one by one
// Tolerance  exact: one rounding
// Source     recurrentgemma, modules.py: Embedder.encode
import { bf16_lane } from "./pack";

/** Looks up rows of an f32 table. */
export function embed_f32(yPtr: usize, tokensPtr: usize, tablePtr: usize, T: i32, D: i32, scale: f32): void {
  for (let t = 0; t < T; t++) {
    const token = load<i32>(tokensPtr + ((<usize>t) << 2));
    let from = tablePtr + <usize>(token >> 3) * ((<usize>D) << 5) + ((<usize>(token & 7)) << 2);
    for (let d = 0; d < D; d++) {
      store<f32>(yPtr, load<f32>(from) * scale);
      from += 32;
      yPtr += 4;
    }
  }
}

/** Looks up rows of a bf16 table. */
export function embed_bf16(yPtr: usize, tokensPtr: usize, tablePtr: usize, T: i32, D: i32, scale: f32): void {
  for (let t = 0; t < T; t++) {
    const token = load<i32>(tokensPtr + ((<usize>t) << 2));
    let from = tablePtr + <usize>(token >> 3) * ((<usize>D) << 4) + ((<usize>bf16_lane(token & 7)) << 1);
    for (let d = 0; d < D; d++) {
      store<f32>(yPtr, reinterpret<f32>((<u32>load<u16>(from)) << 16) * scale);
      from += 16;
      yPtr += 4;
    }
  }
}
