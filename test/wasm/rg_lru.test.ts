import { describe, expect, it } from "vitest";
import * as reference from "../reference/kernels.ts";
import { expectClose, expectSameBits, kernels, Operands, random, sizes, tokenCounts } from "./harness.ts";

interface Call {
  x: Float32Array;
  inputGate: Float32Array;
  recurrentGate: Float32Array;
  aParam: Float32Array;
  state: Float32Array;
  /** The position of the first token. */
  start: number;
}

const call = (T: number, R: number, start: number): Call => ({
  x: random(T * R, 1),
  inputGate: random(T * R, 2, 6),
  recurrentGate: random(T * R, 3, 6),
  aParam: random(R, 4, 8),
  state: random(R, 5),
  start,
});

const positions = (start: number, T: number) => Int32Array.from({ length: T }, (_, t) => start + t);

/** Runs the kernel over consecutive chunks of tokens, carrying its state. */
function recur({ x, inputGate, recurrentGate, aParam, state, start }: Call, chunks: number[]) {
  const R = aParam.length;
  const operands = new Operands();
  const rows = [x, inputGate, recurrentGate].map((values) => operands.input(values).ptr);
  const a = operands.input(aParam);
  const pos = operands.input(
    positions(
      start,
      chunks.reduce((sum, T) => sum + T, 0),
    ),
  );
  const h = operands.inOut(state);
  const y = operands.output(x.length);
  let done = 0;
  for (const T of chunks) {
    const offsetBytes = done * R * 4;
    const inputs = rows.map((ptr) => ptr + offsetBytes);
    kernels.rg_lru(y.ptr + offsetBytes, ...inputs, a.ptr, pos.ptr + done * 4, h.ptr, T, R);
    done += T;
  }
  operands.check();
  return { y: y.f32(), state: h.f32() };
}

function expected(operands: Call, T: number, aSquare: "float32" | "float64" = "float32") {
  const { x, inputGate, recurrentGate, aParam, state, start } = operands;
  const R = aParam.length;
  return reference.rg_lru(x, inputGate, recurrentGate, aParam, positions(start, T), state, { T, R, aSquare });
}

describe.each(sizes)("rg_lru over %i channels", (R) => {
  it.each(tokenCounts)("runs %i tokens on from a state", (T) => {
    const operands = call(T, R, 7);
    const got = recur(operands, [T]);
    const want = expected(operands, T);
    expectClose("rg_lru", got.y, want.y);
    expectClose("rg_lru", got.state, want.new_state);
  });

  it.each(tokenCounts)("starts afresh at position 0 with %i tokens", (T) => {
    const operands = call(T, R, 0);
    expectClose("rg_lru", recur(operands, [T]).y, expected(operands, T).y);
  });
});

it("leaves the state alone over no tokens", () => {
  const operands = call(0, 17, 7);
  expectSameBits(recur(operands, [0]).state, operands.state);
});

it.each([[Array<number>(64).fill(1)], [[1, 2, 3, 58]], [[61, 2, 1]]])("gives the same bits split into %j", (chunks) => {
  for (const start of [0, 7]) {
    const operands = call(64, 17, start);
    const whole = recur(operands, [64]);
    const split = recur(operands, chunks);
    expectSameBits(split.y, whole.y);
    expectSameBits(split.state, whole.state);
  }
});

it("rounds a² to f32 before it takes 1 − a², as the reference implementation does", () => {
  // 2 · log a is about −3e-8, −1e-7, −3e-7 and −1e-6: f32 has only multiples of 6e-8 just below 1.
  const operands = { ...call(1, 4, 7), aParam: Float32Array.of(-19.5, -18, -17, -16), state: new Float32Array(4) };
  const { y } = recur(operands, [1]);
  const want = expected(operands, 1).y;
  const exact = expected(operands, 1, "float64").y;
  for (let r = 0; r < 4; r++) expect(y[r]!).toBeCloseTo(want[r]!, 9);
  expect(Math.abs(exact[0]! - want[0]!)).toBeGreaterThan(1e-6);
});

it("overflows nowhere: extreme gates and parameters mean a = 0 or a = 1", () => {
  const extremes = Float32Array.of(-3e38, 3e38, -100, 100);
  for (const aParam of [1e30, -1e30, 100, -100]) {
    const operands = {
      ...call(1, 4, 7),
      inputGate: extremes,
      recurrentGate: extremes,
      aParam: new Float32Array(4).fill(aParam),
    };
    expectClose("rg_lru", recur(operands, [1]).y, expected(operands, 1).y);
  }
});
