// linear_q and embed_q with the panels that pack_q makes, in both builds, against float64 loops over what the integers
// stand for.
import { describe, expect, it } from "vitest";
import { quantized, scalesOf } from "../../src/checkpoint/quantize.ts";
import * as reference from "../reference/kernels.ts";
import { builds, expectClose, expectSameBits, Operands, random, sizes, tokenCounts } from "./harness.ts";

const types = ["i8", "i4"] as const;
type Type = (typeof types)[number];
const cases = types.flatMap((type) => (["plain", "relaxed"] as const).map((build) => [type, build] as const));
const blockBytes = { i8: 144, i4: 80 };

/** A matrix [M, K], the integers as stored and as numbers, and their scales. */
function matrix(M: number, K: number, type: Type) {
  const values = random(M * K, 2, 1 / Math.sqrt(K));
  const scales = scalesOf(values, K, type);
  const stored = quantized(values, K, type);
  const signed = (nibble: number) => (nibble < 8 ? nibble : nibble - 16);
  const integers = Array.from({ length: M * K }, (_, i) =>
    type === "i8" ? (stored[i]! << 24) >> 24 : signed((stored[i >> 1]! >> (4 * (i & 1))) & 15),
  );
  return { M, K, type, stored, scales, values: reference.dequantize(integers, scales, K) };
}

type Matrix = ReturnType<typeof matrix>;

/** The matrix packed panel by panel, the scales after the integers as the loader may do it. */
function panels(operands: Operands, kernels: (typeof builds)["plain"], { M, K, type, stored, scales }: Matrix) {
  const [rows, blocks] = [operands.input(stored), Math.ceil(K / 32)];
  const scalePtr = operands.input(scales).ptr;
  const panelBytes = blocks * blockBytes[type];
  const packed = operands.inOut(new Uint8Array(Math.ceil(M / 4) * panelBytes).fill(0xff));
  for (let row = 0; row < M; row += 4) {
    const to = packed.ptr + (row / 4) * panelBytes;
    const count = Math.min(4, M - row);
    kernels[`pack_${type}`](to, rows.ptr + (row * K) / (type === "i8" ? 1 : 2), count, K);
    kernels[`pack_scales_${type}`](to + blockBytes[type] - 16, scalePtr + row * blocks * 4, count, blocks);
  }
  return packed;
}

interface Call {
  T: number;
  x: Float32Array<ArrayBuffer>;
  weight: Matrix;
  bias: Float32Array<ArrayBuffer> | undefined;
}

const call = (T: number, K: number, M: number, type: Type, withBias = true): Call => ({
  T,
  x: random(T * K, 1),
  weight: matrix(M, K, type),
  bias: withBias ? random(M, 3) : undefined,
});

/** Runs all tokens in calls of at most `atOnce`. */
function linear(
  { T, x, weight, bias }: Call,
  build: keyof typeof builds,
  atOnce: number,
  gate?: { activation: number; other: Float32Array<ArrayBuffer> },
): Float32Array {
  const kernels = builds[build];
  const { M, K, type } = weight;
  const operands = new Operands(kernels);
  const packed = panels(operands, kernels, weight);
  const input = operands.input(x);
  const biasPtr = bias === undefined ? 0 : operands.input(bias).ptr;
  const scratch = operands.inOut(new Uint8Array(kernels.linear_q_scratch(atOnce, K)).fill(0xff));
  const otherPtr = gate === undefined ? 0 : operands.input(gate.other).ptr;
  const y = operands.output(T * M);
  for (let t = 0; t < T; t += atOnce) {
    const [yPtr, xPtr, gated] = [y.ptr + t * M * 4, input.ptr + t * K * 4, otherPtr + t * M * 4];
    const axes = [Math.min(atOnce, T - t), M, K, M];
    kernels[`linear_${type}`](yPtr, xPtr, packed.ptr, biasPtr, scratch.ptr, ...axes, gate?.activation ?? 0, gated);
  }
  operands.check();
  return y.f32();
}

const small = [...sizes.filter((size) => size >= 1 && size <= 64), 31, 32, 33, 96];
const shapes = small.flatMap((K) => [1, 3, 4, 5, 8, 16, 17, 64].map((M): [number, number] => [K, M]));
const fits = (type: Type) => (shape: readonly [number, number]) => type === "i8" || shape[0] % 2 === 0;

describe.each(cases)("linear_%s, %s build", (type, build) => {
  it.each(tokenCounts)("multiplies %i tokens by matrices of all sizes", (T) => {
    for (const [K, M] of ([...shapes, [2560, 17], [6, 2560]] as const).filter(fits(type))) {
      for (const withBias of [true, false]) {
        const { x, weight, bias } = call(T, K, M, type, withBias);
        const rounded = reference.round_rows(x, { T, K });
        const want = reference.linear(rounded, weight.values, bias, { T, K, M });
        expectClose(`linear_${type}`, linear({ T, x, weight, bias }, build, T), want);
      }
    }
  });

  it("gates what it is told to with the bits of gelu_mul and silu_mul", () => {
    for (const [K, M] of ([...shapes.slice(0, 40), [96, 17], [64, 130]] as const).filter(fits(type))) {
      for (const T of [1, 5]) {
        const given = call(T, K, M, type);
        const other = random(T * M, 9);
        const plain = linear(given, build, T);
        for (const [i, gate] of (["gelu_mul", "silu_mul"] as const).entries()) {
          const operands = new Operands(builds[build]);
          const [from, otherPtr, want] = [operands.input(plain).ptr, operands.input(other).ptr, operands.output(T * M)];
          builds[build][gate](want.ptr, from, otherPtr, T * M);
          const expected = want.f32();
          expectSameBits(linear(given, build, T, { activation: i + 1, other }), expected);
        }
      }
    }
  });

  it("gives a token the same bits whatever it is read with, in either build", () => {
    for (const [K, M] of ([...shapes, [2560, 33], [100, 2560]] as const).filter(fits(type))) {
      const operands = call(7, K, M, type);
      const want = linear(operands, "plain", 1);
      for (const atOnce of [1, 2, 3, 5, 7]) expectSameBits(linear(operands, build, atOnce), want);
    }
  });

  it("is exact with the largest integers there are", () => {
    const K = 64;
    const values = new Float32Array(4 * K).fill(1);
    const weight = { ...matrix(4, K, type), stored: quantized(values, K, type), scales: scalesOf(values, K, type) };
    const x = Float32Array.from({ length: K }, (_, k) => (k % 2 ? 127 : -127));
    const all = new Float32Array(K).fill(-127);
    for (const T of [1, 2]) {
      const rows = new Float32Array(T * K);
      for (let t = 0; t < T; t++) rows.set(x, t * K);
      expect(linear({ T, x: rows, weight, bias: undefined }, build, T)).toEqual(new Float32Array(4 * T));
      for (let t = 0; t < T; t++) rows.set(all, t * K);
      for (const y of linear({ T, x: rows, weight, bias: undefined }, build, T)) expect(y).toBeCloseTo(-127 * K, 2);
    }
  });

  it("shows a NaN, and keeps rows of zeros and of the smallest numbers zero", () => {
    const bad = call(2, 40, 5, type);
    bad.x[3] = NaN;
    const y = linear(bad, build, 2);
    expect(y.subarray(0, 5).every(Number.isNaN)).toBe(true);
    expect(y.subarray(5).some(Number.isNaN)).toBe(false);
    const tiny = { ...call(2, 40, 5, type, false), x: new Float32Array(80).fill(1e-40, 40) };
    expect(linear(tiny, build, 2)).toEqual(new Float32Array(10));
  });

  it("does nothing for no tokens or no outputs", () => {
    for (const [T, M] of [
      [0, 8],
      [1, 0],
      [2, 0],
    ] as const) {
      expectSameBits(linear(call(T, 6, M, type), build, Math.max(T, 1)), new Float32Array(0));
    }
  });
});

describe.each(types)("embed_%s", (type) => {
  it.each([1, 2, 31, 32, 33, 64, 100, 2560])("looks up rows of %i", (D) => {
    if (type === "i4" && D % 2 !== 0) return;
    const kernels = builds.plain;
    const operands = new Operands(kernels);
    const table = matrix(11, D, type);
    const packed = panels(operands, kernels, table);
    const tokens = Int32Array.from([10, 0, 3, 4, 7, 10]);
    const y = operands.output(tokens.length * D);
    kernels[`embed_${type}`](y.ptr, operands.input(tokens).ptr, packed.ptr, tokens.length, D, 50.5);
    operands.check();
    expectClose(`embed_${type}`, y.f32(), reference.embed(tokens, table.values, { D, scale: 50.5 }));
  });
});
