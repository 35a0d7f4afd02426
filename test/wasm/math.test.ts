// The vector functions of wasm/math.ts against float64, over dense sweeps: every bound stands beside the function there.
import { describe, expect, it } from "vitest";
import { compile } from "../../wasm/build.ts";
import { exp, expm1, gelu_tanh, sigmoid, silu, softplus, tanh } from "../reference/kernels.ts";
import { instantiate, Operands } from "./harness.ts";

const reference = { exp, exp_normal: exp, expm1, gelu_tanh, sigmoid, silu, softplus, tanh };
type Name = keyof typeof reference;
const names = Object.keys(reference) as Name[];

const probe = `
  import * as math from "./math";
  export { heap_base } from "./index";
  ${names
    .map(
      (name) => `export function ${name}(yPtr: usize, xPtr: usize, count: i32): void {
      for (let i: usize = 0; i < <usize>count << 2; i += 16) v128.store(yPtr + i, math.${name}(v128.load(xPtr + i)));
    }`,
    )
    .join("\n")}`;
const probes = instantiate<Name>(await compile("math_probe.ts", "plain", probe));

function evaluate(name: Name, xs: Float32Array): Float32Array {
  const padded = new Float32Array(Math.ceil(xs.length / 4) * 4);
  padded.set(xs);
  const operands = new Operands(probes);
  const x = operands.input(padded);
  const y = operands.output(padded.length);
  probes[name](y.ptr, x.ptr, padded.length);
  operands.check();
  return y.f32().subarray(0, xs.length);
}

/** The distance between neighbouring f32 at `x`. */
function ulp(x: number): number {
  return 2 ** Math.max(Math.floor(Math.log2(Math.abs(x))) - 23, -149);
}

/** The largest error over the points, in units in the last place; NaN where one is wrong altogether. */
function worstUlp(name: Name, xs: Float32Array): number {
  const ys = evaluate(name, xs);
  return xs.reduce((worst, x, i) => {
    const want = reference[name](x);
    return Math.max(worst, want === ys[i] ? 0 : Math.abs((ys[i] ?? NaN) - want) / ulp(want));
  }, 0);
}

const points = 100_000;
const linear = (from: number, to: number) =>
  Float32Array.from({ length: points }, (_, i) => from + ((to - from) * i) / (points - 1));
/** ± 2⁻¹⁴⁹ … ± 1, evenly over the exponents */
const small = Float32Array.from({ length: points }, (_, i) => (i % 2 ? -1 : 1) * 2 ** (-149 + (149 * i) / points));

describe("a vector function stays within its bound", () => {
  const sweeps: [Name, from: number, to: number, boundUlp: number][] = [
    ["exp", -103, 88.7, 1],
    ["exp_normal", -87.6, 88, 1],
    ["expm1", -120, 88, 1.5],
    ["sigmoid", -87, 30, 2.5],
    ["sigmoid", -8, 8, 2.5],
    ["tanh", -20, 20, 2.5],
    ["tanh", -1, 1, 2.5],
    ["softplus", -103, 100, 3],
    ["softplus", -8, 8, 3],
    ["silu", -80, 80, 2.5],
    ["silu", -8, 8, 2.5],
    ["gelu_tanh", -1, 20, 3],
    // The argument of its exponential, rounded to f32, is off by some 1e-7 of itself.
    ["gelu_tanh", -5, -1, 40],
  ];
  it.each(sweeps)("%s from %d to %d: %d ulp", (name, from, to, boundUlp) => {
    expect(worstUlp(name, linear(from, to))).toBeLessThanOrEqual(boundUlp);
  });

  it.each(names)("%s near zero, denormals included: 3 ulp", (name) => {
    expect(worstUlp(name, small)).toBeLessThanOrEqual(3);
  });

  it("gelu_tanh fades out below -5 with an absolute error below 3e-9", () => {
    const xs = linear(-100, -5);
    const worst = evaluate("gelu_tanh", xs).reduce((most, y, i) => Math.max(most, Math.abs(y - gelu_tanh(xs[i]!))), 0);
    expect(worst).toBeLessThan(3e-9);
  });
});

describe("a vector function meets its limits", () => {
  const limits: [Name, x: number, y: number][] = [
    ["exp", -Infinity, 0],
    ["exp", -3e38, 0],
    ["exp", -103.9, 2 ** -149],
    ["exp", 0, 1],
    ["exp", 88.73, Infinity],
    ["exp", 3e38, Infinity],
    ["exp", Infinity, Infinity],
    ["exp_normal", -Infinity, 0],
    ["exp_normal", -3e38, 0],
    ["exp_normal", -87.7, 0],
    ["expm1", -Infinity, -1],
    ["expm1", -3e38, -1],
    ["expm1", 0, 0],
    ["sigmoid", -Infinity, 0],
    ["sigmoid", -3e38, 0],
    ["sigmoid", 0, 0.5],
    ["sigmoid", 3e38, 1],
    ["sigmoid", Infinity, 1],
    ["tanh", -Infinity, -1],
    ["tanh", -3e38, -1],
    ["tanh", -0, -0],
    ["tanh", 0, 0],
    ["tanh", 3e38, 1],
    ["tanh", Infinity, 1],
    ["softplus", -Infinity, 0],
    ["softplus", -3e38, 0],
    ["softplus", 0, Math.fround(Math.LN2)],
    ["softplus", 3e38, Math.fround(3e38)],
    ["softplus", Infinity, Infinity],
    ["silu", -3e38, -0],
    ["silu", -0, -0],
    ["silu", 3e38, Math.fround(3e38)],
    ["gelu_tanh", -3e38, -0],
    ["gelu_tanh", -0, -0],
    ["gelu_tanh", 3e38, Math.fround(3e38)],
  ];
  it.each(limits)("%s(%d) is %d", (name, x, y) => {
    expect(evaluate(name, Float32Array.of(x))[0]).toBe(y);
  });

  it.each(names)("%s(NaN) is NaN", (name) => {
    expect(evaluate(name, Float32Array.of(NaN))[0]).toBeNaN();
  });
});

it("exp_normal has the bits of exp", () => {
  const xs = linear(-87.6, 88);
  expect(evaluate("exp_normal", xs)).toEqual(evaluate("exp", xs));
});

it("a function gives the same bits in every lane", () => {
  const xs = Float32Array.of(-1.25, 0.5, 7, -30);
  for (const name of names) {
    const together = evaluate(name, xs);
    xs.forEach((x, lane) => expect(evaluate(name, Float32Array.of(x))[0]).toBe(together[lane]));
  }
});
