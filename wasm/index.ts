// What dist/griffin.wasm exports: every kernel, one file each, and where the host's memory begins. The module imports
// nothing and allocates nothing: pointers are byte addresses in the exported memory, which the host grows and lays
// out, tensors start on 16 bytes, sizes count elements. Kernels check nothing: whoever compiles the graph has checked.
export * from "./add";
export * from "./block_diagonal";
export { causal_conv1d } from "./causal_conv1d";
export * from "./embed";
export * from "./embed_q";
export * from "./gelu_mul";
export * from "./linear";
export * from "./linear_q";
export * from "./local_attention";
export { pack_bf16, pack_f32 } from "./pack";
export * from "./pack_q";
export * from "./recurrence";
export { rg_lru } from "./rg_lru";
export * from "./rms_norm";
export * from "./silu_mul";
export * from "./soft_cap";
export * from "./trig";

/** The first byte that the host may use: constants of the kernels lie below. */
export function heap_base(): usize {
  return (__heap_base + 15) & ~15;
}
