// Which build of the kernels a host can run: griffin-relaxed.wasm where its instruction is known, griffin.wasm
// elsewhere. Both give the same bits.

/** A module with one function: two zeros go through i16x8.relaxed_dot_i8x16_i7x16_s. */
const probe = [
  [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  [0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b], // type: () → v128
  [0x03, 0x02, 0x01, 0x00],
  [0x0a, 0x0f, 0x01, 0x0d, 0x00], // code: i32.const 0, i8x16.splat, twice; the instruction; end
  [0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x92, 0x02, 0x0b],
];

/** Whether this host compiles relaxed SIMD. V8 does from 11.4 on: Node 22, Chrome 114. */
export const supportsRelaxedSimd = (): boolean => WebAssembly.validate(Uint8Array.from(probe.flat()));
