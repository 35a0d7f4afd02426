// The helpers that keep tails inside their rows, seen where a byte too far is a trap: at the end of memory.
import { expect, it } from "vitest";
import { compile } from "../../wasm/build.ts";
import { instantiate, Operands } from "./harness.ts";

const probe = `
  import * as simd from "./simd";
  export { heap_base } from "./index";
  export function copy(yPtr: usize, xPtr: usize, count: i32): void {
    simd.store_lanes(yPtr, simd.load_lanes(xPtr, count), count);
  }
  export function load(yPtr: usize, xPtr: usize, count: i32): void {
    v128.store(yPtr, simd.load_lanes(xPtr, count));
  }
  export function sum(xPtr: usize): f32 {
    return simd.sum_lanes(v128.load(xPtr));
  }`;
const probes = instantiate<"copy" | "load" | "sum">(await compile("simd_probe.ts", "plain", probe));

const values = Float32Array.of(1.5, -2.5, 3.5, -4.5);

it.each([1, 2, 3, 4])("loads %i elements from the end of memory and zeros after them", (count) => {
  const y = new Operands(probes).output(4);
  const { buffer } = probes.memory;
  const ptr = buffer.byteLength - count * 4;
  new Float32Array(buffer, ptr).set(values.subarray(0, count));
  probes.load(y.ptr, ptr, count);
  expect([...y.f32()]).toEqual([...values.subarray(0, count), 0, 0, 0, 0].slice(0, 4));
});

it.each([1, 2, 3, 4])("stores %i elements up to the end of memory and none before them", (count) => {
  const x = new Operands(probes).input(values);
  const { buffer } = probes.memory;
  const last = new Float32Array(buffer, buffer.byteLength - 32);
  last.fill(7);
  probes.copy(buffer.byteLength - count * 4, x.ptr, count);
  expect([...last]).toEqual([...Array<number>(8 - count).fill(7), ...values.subarray(0, count)]);
});

it("sums four lanes as (0 + 2) + (1 + 3)", () => {
  const x = new Operands(probes).input(Float32Array.of(2 ** 24, 1, -(2 ** 24), 1));
  expect(probes.sum(x.ptr)).toBe(2);
});
