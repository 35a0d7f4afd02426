// panel[k][lane(r)] = w[r, k]: up to 8 rows of a matrix become one panel, the layout that linear and embed read
//
// Shapes     w [rows, K] f32 or bf16, 1 ≤ rows ≤ 8; panel [K][8] of the same dtype. Lane order of f32: rows 0…7.
//            Of bf16: rows 0 4 1 5 2 6 3 7, so that of four u32 read from it the low halves are rows 0–3, the high
//            halves rows 4–7, and one shift or one mask makes them f32.
// Alignment  none needed
// Aliasing   none
// Tail       lanes of missing rows are zero
// Tolerance  exact: bits are copied
// Source     the panels of BLIS (Van Zee and van de Geijn, 2015), with one register block a panel

/** Rows of a matrix in one panel. */
export const PANEL_ROWS: i32 = 8;

/** Packs up to 8 rows of f32 into one panel. */
export function pack_f32(panelPtr: usize, weightPtr: usize, rows: i32, K: i32): void {
  if (rows < PANEL_ROWS) memory.fill(panelPtr, 0, (<usize>K) << 5);
  for (let r = 0; r < rows; r++) {
    let from = weightPtr + ((<usize>r * <usize>K) << 2);
    let to = panelPtr + ((<usize>r) << 2);
    for (let k = 0; k < K; k++) {
      store<u32>(to, load<u32>(from));
      from += 4;
      to += 32;
    }
  }
}

/** Packs up to 8 rows of bf16 into one panel. */
export function pack_bf16(panelPtr: usize, weightPtr: usize, rows: i32, K: i32): void {
  if (rows < PANEL_ROWS) memory.fill(panelPtr, 0, (<usize>K) << 4);
  for (let r = 0; r < rows; r++) {
    let from = weightPtr + ((<usize>r * <usize>K) << 1);
    let to = panelPtr + ((<usize>bf16_lane(r)) << 1);
    for (let k = 0; k < K; k++) {
      store<u16>(to, load<u16>(from));
      from += 2;
      to += 16;
    }
  }
}

/** Where row r of a bf16 panel stands among the eight. */
export function bf16_lane(r: i32): i32 {
  return r < 4 ? r << 1 : ((r - 4) << 1) + 1;
}
