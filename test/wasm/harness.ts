// What every kernel test needs: the module, operands in its memory with guard bytes on both sides, seeded numbers, and
// the one table of tolerances. Guards are 0xff, a NaN in f32 and in bf16: a kernel that writes past an operand changes
// them, and one that computes with what lies past an operand gets NaN.
import { readFile } from "node:fs/promises";
import { expect } from "vitest";
import { build } from "../../wasm/build.ts";

/** Element counts that exercise the tail: below, at and above one vector, several vectors, a real row. */
export const sizes = [0, 1, 3, 4, 5, 8, 16, 17, 64, 2560] as const;
export const tokenCounts = [1, 2, 5, 64] as const;

export type Kernel = (...operands: number[]) => number;

/** What every module of ours exports beside its kernels. */
export interface Host {
  memory: WebAssembly.Memory;
  heap_base: () => number;
}

export type KernelName =
  | "add"
  | "block_diagonal"
  | "causal_conv1d"
  | "embed_bf16"
  | "embed_f32"
  | "embed_i4"
  | "embed_i8"
  | "gelu_mul"
  | "linear_bf16"
  | "linear_f32"
  | "linear_i4"
  | "linear_i8"
  | "linear_q_scratch"
  | "local_attention_bf16"
  | "local_attention_f32"
  | "local_attention_scratch"
  | "pack_bf16"
  | "pack_f32"
  | "pack_i4"
  | "pack_i8"
  | "pack_scales_i4"
  | "pack_scales_i8"
  | "recurrence"
  | "rg_lru"
  | "rms_norm"
  | "rope_angles"
  | "rope_frequencies"
  | "silu_mul"
  | "soft_cap";

/** Instantiates a module that imports nothing. */
export function instantiate<Name extends string>(bytes: BufferSource): Record<Name, Kernel> & Host {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  return exports as Record<Name, Kernel> & Host;
}

/** Both modules, compiled first where they are older than their sources. */
export const builds = {
  plain: instantiate<KernelName>(await readFile(await build("plain"))),
  relaxed: instantiate<KernelName>(await readFile(await build("relaxed"))),
};
/** Kernels that use no relaxed instruction are the same in both. */
export const kernels = builds.plain;

/** How far a kernel may be from the float64 loop: |got − want| ≤ relative · |want| + absolute. */
export interface Tolerance {
  relative: number;
  absolute: number;
}

/** Half a unit in the last place of an f32: the most that one rounding changes. */
const halfUlp = 2 ** -24;

/** For operands of magnitude about 1. Beside every kernel stands what its arithmetic cannot do better than. */
export const tolerances = {
  // one rounding
  add: { relative: halfUlp, absolute: 0 },
  // 256 products with weights around 1/16 add up to about 1 in as many roundings
  block_diagonal: { relative: 0, absolute: 2e-6 },
  // nine roundings of at most 5 in magnitude, which may cancel
  causal_conv1d: { relative: 0, absolute: 1e-6 },
  // two roundings
  embed_i4: { relative: 2 * halfUlp, absolute: 0 },
  embed_i8: { relative: 2 * halfUlp, absolute: 0 },
  // integers are exact; 80 sums of blocks that add up to about 1
  linear_i4: { relative: 0, absolute: 3e-6 },
  linear_i8: { relative: 0, absolute: 3e-6 },
  // one rounding
  embed_bf16: { relative: halfUlp, absolute: 0 },
  embed_f32: { relative: halfUlp, absolute: 0 },
  // below −1 the argument of the exponential, rounded to f32, is what limits: 2e-6 of ever smaller values
  gelu_mul: { relative: 1e-6, absolute: 1e-8 },
  // 2560 products with weights around 1/√2560 add up to about 1 in as many roundings
  linear_bf16: { relative: 0, absolute: 3e-6 },
  linear_f32: { relative: 0, absolute: 3e-6 },
  // dot products of 64, a softmax and a mean over 32 rows; keys turned by angles rounded to f32
  local_attention_bf16: { relative: 0, absolute: 1e-6 },
  local_attention_f32: { relative: 0, absolute: 1e-6 },
  // a ≈ 1 rounded to f32 is off by 2⁻²⁵ at every one of 64 steps
  rg_lru: { relative: 1e-6, absolute: 4e-6 },
  // a pair of two products of at most 2, with cosine and sine rounded to f32
  rope: { relative: 0, absolute: 5e-7 },
  // a sum of 2560 squares in four chains, and five roundings
  rms_norm: { relative: 1e-6, absolute: 0 },
  silu_mul: { relative: 3e-7, absolute: 0 },
  soft_cap: { relative: 5e-7, absolute: 0 },
} as const satisfies Partial<Record<KernelName | "rope", Tolerance>>;

const guardBytes = 64;
const guard = 0xff;

/** One operand in WASM memory. */
export interface Operand {
  ptr: number;
  lengthBytes: number;
  /** A copy of what it holds now. */
  f32(): Float32Array<ArrayBuffer>;
  u16(): Uint16Array<ArrayBuffer>;
}

/** Lays the operands of one kernel call into memory, from heap_base up, and watches over all that must not change. */
export class Operands {
  readonly #host: Host;
  readonly #placed: { ptr: number; lengthBytes: number; unchanged: Uint8Array | null }[] = [];
  #endPtr: number;

  constructor(host: Host = kernels) {
    this.#host = host;
    this.#endPtr = host.heap_base();
  }

  /** An operand that the kernel only reads. */
  input(values: Float32Array | Int32Array | Uint16Array | Uint8Array): Operand {
    return this.#place(values, true);
  }

  /** An operand that the kernel reads and overwrites: a state, or an input that is also the output. */
  inOut(values: Float32Array | Int32Array | Uint16Array | Uint8Array): Operand {
    return this.#place(values, false);
  }

  /** An operand of `count` f32 that the kernel writes; NaN until then. */
  output(count: number): Operand {
    return this.#place(new Float32Array(count).fill(NaN), false);
  }

  /** Fails the test if a guard or an input has changed. */
  check(): void {
    const bytes = new Uint8Array(this.#host.memory.buffer);
    for (const [i, { ptr, lengthBytes, unchanged }] of this.#placed.entries()) {
      const around = [
        bytes.subarray(ptr - guardBytes, ptr),
        bytes.subarray(ptr + lengthBytes, ptr + lengthBytes + guardBytes),
      ];
      for (const [side, guards] of around.entries()) {
        if (guards.some((byte) => byte !== guard))
          expect.fail(`operand ${i} was overrun ${side ? "behind" : "in front"}`);
      }
      if (unchanged && Buffer.compare(unchanged, bytes.subarray(ptr, ptr + lengthBytes)) !== 0) {
        expect.fail(`operand ${i} is an input but was written`);
      }
    }
  }

  #place(values: Float32Array | Int32Array | Uint16Array | Uint8Array, readOnly: boolean): Operand {
    const { memory } = this.#host;
    const source = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const ptr = Math.ceil((this.#endPtr + guardBytes) / 16) * 16;
    const lengthBytes = source.length;
    this.#endPtr = ptr + lengthBytes + guardBytes;
    const missingBytes = this.#endPtr - memory.buffer.byteLength;
    if (missingBytes > 0) memory.grow(Math.ceil(missingBytes / 65536));
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(guard, ptr - guardBytes, this.#endPtr);
    bytes.set(source, ptr);
    this.#placed.push({ ptr, lengthBytes, unchanged: readOnly ? source.slice() : null });
    const copy = () => memory.buffer.slice(ptr, ptr + lengthBytes) as ArrayBuffer;
    return { ptr, lengthBytes, f32: () => new Float32Array(copy()), u16: () => new Uint16Array(copy()) };
  }
}

/** `count` numbers, even over (−scale, scale), always the same for a seed. */
export function random(count: number, seed: number, scale = 1): Float32Array<ArrayBuffer> {
  let state = seed | 0;
  return Float32Array.from({ length: count }, () => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 31 - 1) * scale;
  });
}

/** Expects numbers within the kernel's tolerance of the reference's, and none missing. */
export function expectClose(name: keyof typeof tolerances, got: ArrayLike<number>, want: ArrayLike<number>): void {
  const { relative, absolute }: Tolerance = tolerances[name];
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i] ?? NaN, want[i] ?? NaN];
    // Written so that NaN fails.
    if (!(Math.abs(g - w) <= relative * Math.abs(w) + absolute)) {
      expect.fail(`${name}: element ${i} of ${want.length} is ${g}, expected ${w} ± ${relative} · |x| + ${absolute}`);
    }
  }
}

/** Expects the very same bits, −0 and +0 apart. */
export function expectSameBits(got: Float32Array, want: Float32Array): void {
  expect(got.length).toBe(want.length);
  const [a, b] = [
    new Uint32Array(got.buffer, got.byteOffset, got.length),
    new Uint32Array(want.buffer, want.byteOffset, want.length),
  ];
  const i = a.findIndex((bits, at) => bits !== b[at]);
  if (i >= 0) expect.fail(`element ${i} of ${want.length} is ${got[i]}, expected the bits of ${want[i]}`);
}
