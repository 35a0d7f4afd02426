// y[t, n] = Σ_p softmax_p(q[t, n] · key[p] / √H) · value[p] over positions q − W ≤ p ≤ q, p ≥ 0, where q = pos[t]
// Query and key are turned by RoPE, in pairs (i, i + rotaryDim / 2); keys and values are rounded to the KV dtype first.
//
// Shapes     q, y [T, N · H], k, v [T, C] f32 with C = numKvHeads · H; pos [T] i32, consecutive, of which pos[0] is
//            read; keys, values [ringLength, C] f32 or bf16, position p in slot p mod ringLength, ringLength ≥ W + T
//            and a multiple of 32; scratch of local_attention_scratch() bytes
// Alignment  none needed
// Aliasing   none
// Tail       heads that are no multiple of four are walked in zero-padded copies. Scores lie in lanes by p mod 4 and
//            are summed lane by lane, so the sum depends on absolute positions and not on how a prompt was cut.
//            Slots outside the window may hold NaN: their scores become −∞, their values are not read.
// Tolerance  1e-6 absolute for operands around 1, on top of what rounding to bf16 does
// Source     recurrentgemma, modules.py: LocalAttentionBlock; RoFormer (arXiv 2104.09864) section 3.4
import { TILE, keep_head, kv_bytes, open_rows, row_stride, vector_bytes } from "./kv_window";
import { exp_normal } from "./math";
import { load_lanes, max_lanes, mul_add, store_lanes, sum_lanes, sum_lanes_of_4 } from "./simd";
import { rope_angles, rope_frequencies } from "./trig";

/** Bytes of scratch for any T and any number of KV heads. */
export function local_attention_scratch(numHeads: i32, headDim: i32, window: i32, rotaryDim: i32): usize {
  const tables = <usize>4 * vector_bytes(rotaryDim >> 1);
  return tables + TILE * vector_bytes(headDim) + <usize>numHeads * (2 * vector_bytes(headDim) + score_bytes(window));
}

/** Bytes of the scores of one query head: W + 1 positions, wherever in a tile the first one lies. */
function score_bytes(window: i32): usize {
  return ((<usize>window + 2 * TILE - 1) / TILE) * TILE * 4;
}

/** Local attention with a window in f32. */
// oxfmt-ignore
export function local_attention_f32(
  yPtr: usize, qPtr: usize, kPtr: usize, vPtr: usize, posPtr: usize, keysPtr: usize, valuesPtr: usize,
  scratchPtr: usize, T: i32, numHeads: i32, numKvHeads: i32, headDim: i32, window: i32, ringLength: i32,
  rotaryDim: i32, theta: f64,
): void {
  attend(yPtr, qPtr, kPtr, vPtr, posPtr, keysPtr, valuesPtr, scratchPtr, T, numHeads, numKvHeads, headDim, window,
    ringLength, rotaryDim, theta, false);
}

/** Local attention with a window in bf16. */
// oxfmt-ignore
export function local_attention_bf16(
  yPtr: usize, qPtr: usize, kPtr: usize, vPtr: usize, posPtr: usize, keysPtr: usize, valuesPtr: usize,
  scratchPtr: usize, T: i32, numHeads: i32, numKvHeads: i32, headDim: i32, window: i32, ringLength: i32,
  rotaryDim: i32, theta: f64,
): void {
  attend(yPtr, qPtr, kPtr, vPtr, posPtr, keysPtr, valuesPtr, scratchPtr, T, numHeads, numKvHeads, headDim, window,
    ringLength, rotaryDim, theta, true);
}

/** Token by token: its key and value go into the ring, then all its query heads read from there. */
function attend(
  yPtr: usize,
  qPtr: usize,
  kPtr: usize,
  vPtr: usize,
  posPtr: usize,
  keysPtr: usize,
  valuesPtr: usize,
  scratchPtr: usize,
  T: i32,
  numHeads: i32,
  numKvHeads: i32,
  headDim: i32,
  window: i32,
  ringLength: usize,
  rotaryDim: i32,
  theta: f64,
  bf16: bool,
): void {
  const groupHeads = <usize>(numHeads / numKvHeads); // query heads that share a KV head
  const rowBytes = (<usize>headDim) << 2;
  const slotBytes = kv_bytes(numKvHeads * headDim, bf16);
  const headBytes = vector_bytes(headDim);
  const strideBytes = row_stride(slotBytes, headDim, bf16);
  const scoreBytes = score_bytes(window);
  const tableBytes = vector_bytes(rotaryDim >> 1);

  const frequencyPtr = scratchPtr;
  const cosPtr = frequencyPtr + 2 * tableBytes;
  const sinPtr = cosPtr + tableBytes;
  const tilePtr = sinPtr + tableBytes;
  const queriesPtr = tilePtr + TILE * headBytes;
  const sumsPtr = queriesPtr + <usize>numHeads * headBytes;
  const scoresPtr = sumsPtr + <usize>numHeads * headBytes;
  memory.fill(tilePtr, 0, sumsPtr - tilePtr); // the padding of heads is never written again
  rope_frequencies(frequencyPtr, rotaryDim, theta);

  for (let t: usize = 0; t < <usize>T; t++) {
    const position = <usize>load<u32>(posPtr) + t;
    const first = position - min(position, <usize>window);
    rope_angles(cosPtr, sinPtr, frequencyPtr, rotaryDim >> 1, <u32>position);

    let ringOffset = (position % ringLength) * slotBytes;
    for (let n = 0; n < numKvHeads; n++) {
      turn_head(tilePtr, kPtr, cosPtr, sinPtr, rotaryDim, headDim);
      keep_head(keysPtr + ringOffset, tilePtr, headDim, bf16);
      keep_head(valuesPtr + ringOffset, vPtr, headDim, bf16);
      ringOffset += kv_bytes(headDim, bf16);
      kPtr += rowBytes;
      vPtr += rowBytes;
    }
    for (let n = 0; n < numHeads; n++) {
      turn_head(queriesPtr + <usize>n * headBytes, qPtr, cosPtr, sinPtr, rotaryDim, headDim);
      qPtr += rowBytes;
    }

    // Position p has its score at p − firstTile: four p that begin at a multiple of four make a vector.
    const firstTile = first & ~(TILE - 1);
    for (let n = 0; n < numKvHeads; n++) {
      const headOffset = kv_bytes(n * headDim, bf16);
      const groupPtr = queriesPtr + <usize>n * groupHeads * headBytes;
      for (let tile = firstTile; tile <= position; tile += TILE) {
        const from = max(tile, first);
        const to = min(tile + TILE - 1, position);
        const rows = open_rows(tilePtr, keysPtr + headOffset, from, to, ringLength, slotBytes, headDim, bf16);
        for (let h: usize = 0; h < groupHeads; h++) {
          const scores = scoresPtr + h * scoreBytes + ((tile - firstTile) << 2);
          score_rows(scores, groupPtr + h * headBytes, rows, strideBytes, headDim, from - tile, to - tile);
        }
      }
      for (let h: usize = 0; h < groupHeads; h++) {
        softmax(scoresPtr + h * scoreBytes, first - firstTile, position - firstTile);
      }
      memory.fill(sumsPtr, 0, groupHeads * headBytes);
      for (let tile = firstTile; tile <= position; tile += TILE) {
        const from = max(tile, first);
        const to = min(tile + TILE - 1, position);
        const rows = open_rows(tilePtr, valuesPtr + headOffset, from, to, ringLength, slotBytes, headDim, bf16);
        for (let h: usize = 0; h < groupHeads; h++) {
          const weights = scoresPtr + h * scoreBytes + ((tile - firstTile) << 2);
          weigh_rows(sumsPtr + h * headBytes, weights, rows, strideBytes, headBytes, from - tile, to - tile);
        }
      }
      for (let h: usize = 0; h < groupHeads; h++) {
        memory.copy(yPtr, sumsPtr + h * headBytes, rowBytes);
        yPtr += rowBytes;
      }
    }
  }
}

/** RoPE on one head: dims i and i + rotaryDim / 2 turn by angle i, the others pass through. */
function turn_head(toPtr: usize, fromPtr: usize, cosPtr: usize, sinPtr: usize, rotaryDim: i32, headDim: i32): void {
  const half = rotaryDim >> 1;
  const halfBytes = (<usize>half) << 2;
  for (let i = 0; i < half; i += 4) {
    const offset = (<usize>i) << 2;
    const left = half - i;
    const cos = v128.load(cosPtr + offset);
    const sin = v128.load(sinPtr + offset);
    const a = load_lanes(fromPtr + offset, left);
    const b = load_lanes(fromPtr + halfBytes + offset, left);
    store_lanes(toPtr + offset, f32x4.sub(f32x4.mul(a, cos), f32x4.mul(b, sin)), left);
    store_lanes(toPtr + halfBytes + offset, f32x4.add(f32x4.mul(b, cos), f32x4.mul(a, sin)), left);
  }
  memory.copy(toPtr + 2 * halfBytes, fromPtr + 2 * halfBytes, (<usize>(headDim - rotaryDim)) << 2);
}

/** Scores of rows `from` to `to` of a tile against one query, eight at a time: rows around them get one as well. */
function score_rows(
  scoresPtr: usize,
  queryPtr: usize,
  rowsPtr: usize,
  strideBytes: usize,
  headDim: i32,
  from: usize,
  to: usize,
): void {
  const queryEnd = queryPtr + vector_bytes(headDim);
  const scale = f32x4.splat(<f32>1 / sqrt<f32>(<f32>headDim));
  for (let row = from & ~7; row <= to; row += 8) {
    let k0 = rowsPtr + row * strideBytes;
    let k1 = k0 + strideBytes;
    let k2 = k1 + strideBytes;
    let k3 = k2 + strideBytes;
    let k4 = k3 + strideBytes;
    let k5 = k4 + strideBytes;
    let k6 = k5 + strideBytes;
    let k7 = k6 + strideBytes;
    let dot0 = f32x4.splat(0);
    let dot1 = f32x4.splat(0);
    let dot2 = f32x4.splat(0);
    let dot3 = f32x4.splat(0);
    let dot4 = f32x4.splat(0);
    let dot5 = f32x4.splat(0);
    let dot6 = f32x4.splat(0);
    let dot7 = f32x4.splat(0);
    let queryAt = queryPtr;
    for (; queryAt + 32 <= queryEnd; queryAt += 32) {
      let query = v128.load(queryAt);
      dot0 = mul_add(dot0, query, v128.load(k0));
      dot1 = mul_add(dot1, query, v128.load(k1));
      dot2 = mul_add(dot2, query, v128.load(k2));
      dot3 = mul_add(dot3, query, v128.load(k3));
      dot4 = mul_add(dot4, query, v128.load(k4));
      dot5 = mul_add(dot5, query, v128.load(k5));
      dot6 = mul_add(dot6, query, v128.load(k6));
      dot7 = mul_add(dot7, query, v128.load(k7));
      query = v128.load(queryAt, 16);
      dot0 = mul_add(dot0, query, v128.load(k0, 16));
      dot1 = mul_add(dot1, query, v128.load(k1, 16));
      dot2 = mul_add(dot2, query, v128.load(k2, 16));
      dot3 = mul_add(dot3, query, v128.load(k3, 16));
      dot4 = mul_add(dot4, query, v128.load(k4, 16));
      dot5 = mul_add(dot5, query, v128.load(k5, 16));
      dot6 = mul_add(dot6, query, v128.load(k6, 16));
      dot7 = mul_add(dot7, query, v128.load(k7, 16));
      k0 += 32;
      k1 += 32;
      k2 += 32;
      k3 += 32;
      k4 += 32;
      k5 += 32;
      k6 += 32;
      k7 += 32;
    }
    if (queryAt < queryEnd) {
      const query = v128.load(queryAt);
      dot0 = mul_add(dot0, query, v128.load(k0));
      dot1 = mul_add(dot1, query, v128.load(k1));
      dot2 = mul_add(dot2, query, v128.load(k2));
      dot3 = mul_add(dot3, query, v128.load(k3));
      dot4 = mul_add(dot4, query, v128.load(k4));
      dot5 = mul_add(dot5, query, v128.load(k5));
      dot6 = mul_add(dot6, query, v128.load(k6));
      dot7 = mul_add(dot7, query, v128.load(k7));
    }
    v128.store(scoresPtr + (row << 2), f32x4.mul(sum_lanes_of_4(dot0, dot1, dot2, dot3), scale));
    v128.store(scoresPtr + (row << 2), f32x4.mul(sum_lanes_of_4(dot4, dot5, dot6, dot7), scale), 16);
  }
}

/** Turns scores `from` to `to` into weights whose sum is 1; what shares a vector with them becomes 0. */
function softmax(scoresPtr: usize, from: usize, to: usize): void {
  for (let i = from & ~3; i < from; i++) store<f32>(scoresPtr + (i << 2), <f32>-Infinity);
  for (let i = to + 1; i & 3; i++) store<f32>(scoresPtr + (i << 2), <f32>-Infinity);
  const startPtr = scoresPtr + ((from & ~3) << 2);
  const endPtr = scoresPtr + ((to | 3) << 2);

  let top = v128.load(startPtr);
  for (let at = startPtr; at < endPtr; at += 16) top = f32x4.pmax(top, v128.load(at));
  top = f32x4.splat(max_lanes(top));

  let total = f32x4.splat(0);
  for (let at = startPtr; at < endPtr; at += 16) {
    const weight = exp_normal(f32x4.sub(v128.load(at), top));
    total = f32x4.add(total, weight);
    v128.store(at, weight);
  }
  total = f32x4.splat(sum_lanes(total));

  for (let at = startPtr; at < endPtr; at += 16) v128.store(at, f32x4.div(v128.load(at), total));
}

/** Adds rows `from` to `to` of a tile, weighted, to a head of sums: one chain a dim, in order of position. */
function weigh_rows(
  sumsPtr: usize,
  weightsPtr: usize,
  rowsPtr: usize,
  strideBytes: usize,
  headBytes: usize,
  from: usize,
  to: usize,
): void {
  const weightsEnd = weightsPtr + (to << 2);
  weightsPtr += from << 2;
  rowsPtr += from * strideBytes;
  let offset: usize = 0;
  for (; offset + 128 <= headBytes; offset += 128) {
    const sums = sumsPtr + offset;
    let sum0 = v128.load(sums);
    let sum1 = v128.load(sums, 16);
    let sum2 = v128.load(sums, 32);
    let sum3 = v128.load(sums, 48);
    let sum4 = v128.load(sums, 64);
    let sum5 = v128.load(sums, 80);
    let sum6 = v128.load(sums, 96);
    let sum7 = v128.load(sums, 112);
    let row = rowsPtr + offset;
    for (let at = weightsPtr; at <= weightsEnd; at += 4) {
      const weight = v128.load32_splat(at);
      sum0 = mul_add(sum0, weight, v128.load(row));
      sum1 = mul_add(sum1, weight, v128.load(row, 16));
      sum2 = mul_add(sum2, weight, v128.load(row, 32));
      sum3 = mul_add(sum3, weight, v128.load(row, 48));
      sum4 = mul_add(sum4, weight, v128.load(row, 64));
      sum5 = mul_add(sum5, weight, v128.load(row, 80));
      sum6 = mul_add(sum6, weight, v128.load(row, 96));
      sum7 = mul_add(sum7, weight, v128.load(row, 112));
      row += strideBytes;
    }
    v128.store(sums, sum0);
    v128.store(sums, sum1, 16);
    v128.store(sums, sum2, 32);
    v128.store(sums, sum3, 48);
    v128.store(sums, sum4, 64);
    v128.store(sums, sum5, 80);
    v128.store(sums, sum6, 96);
    v128.store(sums, sum7, 112);
  }
  for (; offset < headBytes; offset += 16) {
    let sum = v128.load(sumsPtr + offset);
    let row = rowsPtr + offset;
    for (let at = weightsPtr; at <= weightsEnd; at += 4) {
      sum = mul_add(sum, v128.load32_splat(at), v128.load(row));
      row += strideBytes;
    }
    v128.store(sumsPtr + offset, sum);
  }
}
