import { describe, expect, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random } from "./harness.ts";
import { dtypes, type Dtype } from "./panels.ts";

interface Shape {
  N: number;
  numKvHeads: number;
  H: number;
  rotaryDim: number;
  W: number;
}

/** Consecutive tokens, the first at `start`. */
interface Prompt {
  start: number;
  length: number;
  q: Float32Array<ArrayBuffer>;
  k: Float32Array<ArrayBuffer>;
  v: Float32Array<ArrayBuffer>;
}

const theta = 10000;
const bytesOf = { f32: 4, bf16: 2 } as const;

function prompt({ N, numKvHeads, H }: Shape, length: number, start = 0): Prompt {
  const C = numKvHeads * H;
  return { start, length, q: random(length * N * H, 1, 2), k: random(length * C, 2, 2), v: random(length * C, 3) };
}

/** The smallest ring that chunks of T tokens may use. */
const ringFor = (W: number, T: number) => Math.ceil((W + T) / 32) * 32;

/** Reads a prompt chunk by chunk. Whatever no query may see is NaN before every chunk: slots never written, and slots
 *  that left the window. Returns y and, by position, all keys and values as they lay in the ring. */
function attend(dtype: Dtype, shape: Shape, { start, length, q, k, v }: Prompt, chunks: number[], spareSlots = 0) {
  const { N, numKvHeads, H, rotaryDim, W } = shape;
  const C = numKvHeads * H;
  const ringLength = ringFor(W, Math.max(...chunks)) + spareSlots;
  const slotBytes = C * bytesOf[dtype];
  const operands = new Operands();
  const inputs = [q, k, v].map((values) => operands.input(values));
  const pos = operands.input(Int32Array.from({ length }, (_, t) => start + t));
  const rings = [1, 2].map(() => operands.inOut(new Float32Array((ringLength * slotBytes) / 4)));
  const scratch = operands.output(kernels.local_attention_scratch(N, H, W, rotaryDim) / 4);
  const y = operands.output(length * N * H);
  const kept = rings.map(() => new Uint8Array(length * slotBytes));

  let done = 0;
  for (const T of chunks) {
    for (const { ptr } of rings) {
      const ring = new Uint8Array(kernels.memory.buffer, ptr, ringLength * slotBytes);
      const visible = new Set(Array.from({ length: W }, (_, i) => (start + done - W + i) % ringLength));
      for (let slot = 0; slot < ringLength; slot++) {
        if (!visible.has(slot)) ring.fill(0xff, slot * slotBytes, (slot + 1) * slotBytes);
      }
    }
    const rows = [y, ...inputs].map(({ ptr, lengthBytes }) => ptr + (lengthBytes / length) * done);
    const state = [pos.ptr + done * 4, ...rings.map(({ ptr }) => ptr), scratch.ptr];
    const sizes = [T, N, numKvHeads, H, W, ringLength, rotaryDim];
    kernels[`local_attention_${dtype}`](...rows, ...state, ...sizes, theta);
    for (const [i, { ptr }] of rings.entries()) {
      for (let t = done; t < done + T; t++) {
        const from = ptr + ((start + t) % ringLength) * slotBytes;
        kept[i]!.set(new Uint8Array(kernels.memory.buffer, from, slotBytes), t * slotBytes);
      }
    }
    done += T;
  }
  operands.check();
  const floats = kept.map(({ buffer }) =>
    dtype === "f32"
      ? new Float32Array(buffer)
      : new Float32Array(Uint32Array.from(new Uint16Array(buffer), (half) => half << 16).buffer),
  );
  return { y: y.f32(), keys: floats[0]!, values: floats[1]! };
}

const positions = ({ start, length }: Prompt) => Array.from({ length }, (_, t) => start + t);

/** Every head of `rows` turned to its position, in float64. */
function turned(rows: Float32Array, heads: number, { H, rotaryDim }: Shape, tokens: Prompt): Float64Array {
  const result = Float64Array.from(rows);
  positions(tokens).forEach((position, t) => {
    for (let n = 0; n < heads; n++) reference.rope(result, (t * heads + n) * H, position, rotaryDim, theta);
  });
  return result;
}

/** What the queries see when the window holds these keys and values, already turned and rounded. */
function expected(shape: Shape, tokens: Prompt, keys: Float32Array, values: Float32Array): Float64Array {
  const { N, numKvHeads, H, W } = shape;
  const empty = new Float64Array(W * numKvHeads * H);
  const q = turned(tokens.q, N, shape, tokens);
  const axes = { T: tokens.length, N, numKvHeads, H, W, rotaryDim: 0, theta, kv: "f32" } as const;
  return reference.local_attention(q, keys, values, positions(tokens), empty, empty, axes).y;
}

const wholes = (length: number, T: number) =>
  Array.from({ length: Math.ceil(length / T) }, (_, i) => Math.min(T, length - i * T));

const windows = [1, 4, 16, 31];
const heads = [
  { N: 1, numKvHeads: 1 },
  { N: 4, numKvHeads: 1 },
  { N: 6, numKvHeads: 2 },
  { N: 4, numKvHeads: 4 },
];
const headDims = [
  { H: 4, rotaryDim: 2 },
  { H: 8, rotaryDim: 8 },
  { H: 10, rotaryDim: 6 },
  { H: 32, rotaryDim: 0 },
  { H: 64, rotaryDim: 32 },
];
const shapes = windows.flatMap((W) => heads.flatMap((head) => headDims.map((dims) => ({ W, ...head, ...dims }))));

describe.each(dtypes)("local_attention_%s", (dtype) => {
  it.each(shapes)("sees $W + 1 keys with $N heads on $numKvHeads of $H dims, $rotaryDim turned", (shape) => {
    const tokens = prompt(shape, 2 * shape.W + 40);
    const { y, keys, values } = attend(dtype, shape, tokens, [tokens.length]);
    const round = dtype === "bf16" ? reference.round_bf16 : (x: number) => x;
    expectSameBits(values, tokens.v.map(round));
    if (dtype === "f32") expectClose("rope", keys, turned(tokens.k, shape.numKvHeads, shape, tokens));
    else expectSameBits(keys, attend("f32", shape, tokens, [tokens.length]).keys.map(round));
    expectClose(`local_attention_${dtype}`, y, expected(shape, tokens, keys, values));
  });

  it.each(shapes.filter(({ H, W }) => H === 4 || H === 10 || (H === 64 && W === 16)))(
    "gives the same bits however $W + 1 keys, $N heads on $numKvHeads of $H dims are split",
    (shape) => {
      const tokens = prompt(shape, 2 * shape.W + 100);
      const whole = attend(dtype, shape, tokens, [tokens.length]).y;
      const growing = Array.from({ length: 13 }, (_, i) => i + 1); // 91 in all
      const splits = [
        ...[1, 2, 3, 5, 16, 17].map((T) => wholes(tokens.length, T)),
        [...growing, tokens.length - 91],
        ...[shape.W - 1, shape.W, shape.W + 1, 2 * shape.W + 1]
          .filter((T) => T > 0)
          .map((T) => [T, ...wholes(tokens.length - T, 11)]),
      ];
      for (const chunks of splits) expectSameBits(attend(dtype, shape, tokens, chunks).y, whole);
      expectSameBits(attend(dtype, shape, tokens, wholes(tokens.length, 3), 64).y, whole);
    },
  );

  it.each([100_000, 1_000_000, 2 ** 31 - 1])(
    "is as exact just before position %i, where dims beyond RoPE's pass through",
    (end) => {
      const shape = { N: 2, numKvHeads: 1, H: 64, rotaryDim: 32, W: 16 };
      const tokens = prompt(shape, 50, end - 49);
      const { y, keys, values } = attend(dtype, shape, tokens, wholes(50, 7));
      // A window never written is zeros here, and in the reference.
      expectClose(`local_attention_${dtype}`, y, expected(shape, tokens, keys, values));
      const round = dtype === "bf16" ? reference.round_bf16 : (x: number) => x;
      const passed = (rows: Float32Array) => rows.filter((_, i) => i % shape.H >= shape.rotaryDim);
      expectSameBits(passed(keys), passed(tokens.k).map(round));
      if (dtype === "f32") expectClose("rope", keys, turned(tokens.k, 1, shape, tokens));
    },
  );

  it("takes scores far apart without overflow", () => {
    const shape = { N: 1, numKvHeads: 1, H: 4, rotaryDim: 0, W: 4 };
    const tokens = prompt(shape, 12);
    tokens.q.forEach((q, i) => (tokens.q[i] = Math.fround(q * 300)));
    const { y, keys, values } = attend(dtype, shape, tokens, [12]);
    expectClose(`local_attention_${dtype}`, y, expected(shape, tokens, keys, values));
  });
});

it("a window in bf16 rounds ties to even and keeps infinities and NaN what they are", () => {
  const bits = [0x3f808000, 0x3f818000, 0x3f808001, 0x7f800000, 0xff800000, 0x7f800001, 0x7fffffff, 0x80000000];
  const v = new Float32Array(Uint32Array.from(bits).buffer);
  const shape = { N: 1, numKvHeads: 1, H: 8, rotaryDim: 0, W: 1 };
  const { values } = attend("bf16", shape, { ...prompt(shape, 1), v }, [1]);
  const got = [...new Uint32Array(values.buffer)];
  expect(got).toEqual([0x3f800000, 0x3f820000, 0x3f810000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fff0000, 0x80000000]);
});
