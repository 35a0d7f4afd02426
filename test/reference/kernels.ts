// The functions of domain `griffin` as the plainest possible float64 loops: what every kernel is checked against.
// Written from the model's definition alone (recurrentgemma's reference code), independent of wasm/ and of the ONNX
// bodies. Inputs come in the order of their signature in src/model/functions.ts, row-major; sizes and attributes follow
// in one object. Nothing is written to: results, new states too, are new arrays.

type Numbers = ArrayLike<number>;

export const exp = (x: number): number => Math.exp(x);
export const expm1 = (x: number): number => Math.expm1(x);
export const tanh = (x: number): number => Math.tanh(x);
export const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
export const silu = (x: number): number => x * sigmoid(x);
export const gelu_tanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The bfloat16 nearest to `x` after it was rounded to f32, ties to even: what a bf16 KV window keeps. */
export function round_bf16(x: number): number {
  float[0] = x;
  if (Number.isNaN(x)) return x;
  const bits = word[0]!;
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return float[0]!;
}

/** y = table[token] · scale. tokens [T], table [V, D] → [T, D] */
export function embed(tokens: Numbers, table: Numbers, { D, scale }: { D: number; scale: number }): Float64Array {
  const y = new Float64Array(tokens.length * D);
  for (let t = 0; t < tokens.length; t++) {
    for (let d = 0; d < D; d++) y[t * D + d] = table[tokens[t]! * D + d]! * scale;
  }
  return y;
}

/** y = x / √(mean(x²) + ε) · (1 + w). x [T, D], weight [D] → [T, D] */
export function rms_norm(
  x: Numbers,
  weight: Numbers,
  { T, D, epsilon }: { T: number; D: number; epsilon: number },
): Float64Array {
  const y = new Float64Array(T * D);
  for (let t = 0; t < T; t++) {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += x[t * D + d]! ** 2;
    const scale = 1 / Math.sqrt(sum / D + epsilon);
    for (let d = 0; d < D; d++) y[t * D + d] = x[t * D + d]! * scale * (1 + weight[d]!);
  }
  return y;
}

/** y = x · weightᵀ + bias. x [T, K], weight [M, K], bias [M] → [T, M] */
export function linear(
  x: Numbers,
  weight: Numbers,
  bias: Numbers | undefined,
  { T, K, M }: { T: number; K: number; M: number },
): Float64Array {
  const y = new Float64Array(T * M);
  for (let t = 0; t < T; t++) {
    for (let m = 0; m < M; m++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[t * K + k]! * weight[m * K + k]!;
      y[t * M + m] = sum + (bias?.[m] ?? 0);
    }
  }
  return y;
}

/** What int8 or int4 with a scale for every 32 of a row of `columns` stands for. */
export function dequantize(q: Numbers, scales: Numbers, columns: number): Float64Array {
  const blocks = Math.ceil(columns / 32);
  return Float64Array.from(q, (value, i) => {
    const row = Math.floor(i / columns);
    return value * scales[row * blocks + Math.floor((i - row * columns) / 32)]!;
  });
}

/** Rows rounded to int8 in blocks of 32, and what they then stand for: the roundings are those of f32. [T, K] → [T, K] */
export function round_rows(x: Numbers, { T, K }: { T: number; K: number }): Float64Array {
  const rounded = new Float64Array(T * K);
  for (let t = 0; t < T; t++) {
    for (let from = 0; from < K; from += 32) {
      const block = Array.from({ length: Math.min(32, K - from) }, (_, i) => x[t * K + from + i]!);
      const max = Math.max(...block.map(Math.abs));
      const factor = max < 1e-36 ? 0 : Math.fround(127 / max);
      block.forEach((value, i) => {
        const scaled = Math.fround(value * factor);
        const floor = Math.floor(scaled);
        const isUp = scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2 !== 0);
        rounded[t * K + from + i] = (floor + (isUp ? 1 : 0)) * Math.fround(max / 127);
      });
    }
  }
  return rounded;
}

/** y = gelu_tanh(gate) · x, element by element. */
export function gelu_mul(gate: Numbers, x: Numbers): Float64Array {
  return Float64Array.from(gate, (g, i) => gelu_tanh(g) * x[i]!);
}

/** y = silu(gate) · x, element by element. */
export function silu_mul(gate: Numbers, x: Numbers): Float64Array {
  return Float64Array.from(gate, (g, i) => silu(g) * x[i]!);
}

/** y_t = bias + Σ_s weight[3 − s] · x_{t−s}. x [T, R], weight [4, R], bias [R], state [3, R] oldest first → y, new_state */
export function causal_conv1d(
  x: Numbers,
  weight: Numbers,
  bias: Numbers,
  state: Numbers,
  { T, R }: { T: number; R: number },
): { y: Float64Array; new_state: Float64Array } {
  const past = (t: number, r: number): number => (t >= 0 ? x[t * R + r]! : state[(3 + t) * R + r]!);
  const y = new Float64Array(T * R);
  const new_state = new Float64Array(3 * R);
  for (let r = 0; r < R; r++) {
    for (let t = 0; t < T; t++) {
      let sum = bias[r]!;
      for (let s = 0; s < 4; s++) sum += weight[(3 - s) * R + r]! * past(t - s, r);
      y[t * R + r] = sum;
    }
    for (let i = 0; i < 3; i++) new_state[i * R + r] = past(T - 3 + i, r);
  }
  return { y, new_state };
}

/** y = x @ weight + bias within every block. x [T, B·S], weight [B, S in, S out], bias [B, S] → [T, B·S] */
export function block_diagonal(
  x: Numbers,
  weight: Numbers,
  bias: Numbers,
  { T, B, S }: { T: number; B: number; S: number },
): Float64Array {
  const y = new Float64Array(T * B * S);
  for (let t = 0; t < T; t++) {
    for (let b = 0; b < B; b++) {
      for (let out = 0; out < S; out++) {
        let sum = 0;
        for (let i = 0; i < S; i++) sum += x[(t * B + b) * S + i]! * weight[(b * S + i) * S + out]!;
        y[(t * B + b) * S + out] = sum + bias[b * S + out]!;
      }
    }
  }
  return y;
}

export interface RgLruOptions {
  T: number;
  R: number;
  /** What a² is rounded to before 1 − a² is taken. The reference implementation rounds it to f32, and where a is near
   *  1 that is visible: pocket's logits move by up to 1.9e-4 without it, and agree to 8e-6 with it. */
  aSquare?: "float32" | "float64";
}

/** h_t = a · h_{t−1} + m · σ(input_gate) · x, log a = −8 · σ(recurrent_gate) · softplus(a_param), m = √(1 − a²);
 *  a = 0 and m = 1 at position 0. x and gates [T, R], a_param [R], pos [T], state [R] → y, new_state */
export function rg_lru(
  x: Numbers,
  input_gate: Numbers,
  recurrent_gate: Numbers,
  a_param: Numbers,
  pos: Numbers,
  state: Numbers,
  { T, R, aSquare = "float32" }: RgLruOptions,
): { y: Float64Array; new_state: Float64Array } {
  const y = new Float64Array(T * R);
  const new_state = Float64Array.from(state);
  for (let t = 0; t < T; t++) {
    for (let r = 0; r < R; r++) {
      const i = t * R + r;
      const log_a = -8 * sigmoid(recurrent_gate[i]!) * softplus(a_param[r]!);
      const m = Math.sqrt(aSquare === "float32" ? 1 - Math.fround(exp(2 * log_a)) : -expm1(2 * log_a));
      const input = sigmoid(input_gate[i]!) * x[i]!;
      new_state[r] = pos[t] === 0 ? input : exp(log_a) * new_state[r]! + m * input;
      y[i] = new_state[r]!;
    }
  }
  return { y, new_state };
}

/** Turns the first `rotaryDim` dims of a head of `row` at `start`, in place: pairs (i, i + rotaryDim / 2). */
export function rope(row: Float64Array, start: number, position: number, rotaryDim: number, theta: number): void {
  const half = rotaryDim / 2;
  for (let i = 0; i < half; i++) {
    const angle = position * theta ** ((-2 * i) / rotaryDim);
    const [a, b] = [row[start + i]!, row[start + half + i]!];
    row[start + i] = a * Math.cos(angle) - b * Math.sin(angle);
    row[start + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
  }
}

export interface AttentionOptions {
  T: number;
  /** Query heads; heads n · N/numKvHeads … of them share KV head n. */
  N: number;
  numKvHeads: number;
  H: number;
  W: number;
  /** Rows of `keys` and `values`: position p lies in row p mod ringLength. At least W; default W, as in the graph. */
  ringLength?: number;
  rotaryDim: number;
  theta: number;
  /** `bf16`: keys (after RoPE) and values are rounded before any query reads them. `f32`: not rounded at all here. */
  kv: "f32" | "bf16";
}

/** Softmax attention of every query at position q over keys q − W … q, those at negative positions left out.
 *  q [T, N·H], k and v [T, C], pos [T] consecutive, keys and values rings [ringLength, C] of which only the last W
 *  positions are read, C = numKvHeads · H → y [T, N·H] and the new rings. */
export function local_attention(
  q: Numbers,
  k: Numbers,
  v: Numbers,
  pos: Numbers,
  keys: Numbers,
  values: Numbers,
  { T, N, numKvHeads, H, W, ringLength = W, rotaryDim, theta, kv }: AttentionOptions,
): { y: Float64Array; new_keys: Float64Array; new_values: Float64Array } {
  const C = numKvHeads * H;
  const round = kv === "bf16" ? round_bf16 : (x: number) => x;
  const row = (from: Numbers, i: number, width: number) =>
    Float64Array.from({ length: width }, (_, c) => from[i * width + c]!);
  const y = new Float64Array(T * N * H);
  const new_keys = Float64Array.from(keys);
  const new_values = Float64Array.from(values);
  if (T === 0) return { y, new_keys, new_values };

  const seenKeys = new Map<number, Float64Array>(); // by absolute position
  const seenValues = new Map<number, Float64Array>();
  for (let p = Math.max(0, pos[0]! - W); p < pos[0]!; p++) {
    seenKeys.set(p, row(keys, p % ringLength, C));
    seenValues.set(p, row(values, p % ringLength, C));
  }
  for (let t = 0; t < T; t++) {
    const p = pos[t]!;
    const key = row(k, t, C);
    for (let n = 0; n < numKvHeads; n++) rope(key, n * H, p, rotaryDim, theta);
    seenKeys.set(p, key.map(round));
    seenValues.set(p, row(v, t, C).map(round));
    new_keys.set(seenKeys.get(p)!, (p % ringLength) * C);
    new_values.set(seenValues.get(p)!, (p % ringLength) * C);

    const query = row(q, t, N * H);
    for (let n = 0; n < N; n++) {
      rope(query, n * H, p, rotaryDim, theta);
      const kvStart = Math.floor(n / (N / numKvHeads)) * H;
      const scores: number[] = [];
      const first = Math.max(0, p - W);
      for (let s = first; s <= p; s++) {
        let dot = 0;
        for (let h = 0; h < H; h++) dot += query[n * H + h]! * seenKeys.get(s)![kvStart + h]!;
        scores.push(dot / Math.sqrt(H));
      }
      const top = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => exp(score - top));
      const sum = weights.reduce((a, b) => a + b);
      weights.forEach((weight, i) => {
        for (let h = 0; h < H; h++)
          y[(t * N + n) * H + h]! += (weight / sum) * seenValues.get(first + i)![kvStart + h]!;
      });
    }
  }
  return { y, new_keys, new_values };
}

/** y = cap · tanh(x / cap), element by element. */
export function soft_cap(x: Numbers, { cap }: { cap: number }): Float64Array {
  return Float64Array.from(x, (value) => cap * tanh(value / cap));
}

/** y = a + b, element by element. */
export function add(a: Numbers, b: Numbers): Float64Array {
  return Float64Array.from(a, (value, i) => value + b[i]!);
}
