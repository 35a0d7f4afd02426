// The whole model in float64, put together from the loops of kernels.ts: the oracle for every option of a Config.
// Weights go by Hugging Face's names without the leading `model.`, in Hugging Face's own shapes: the convolution's
// weight is [R, 1, 4] here, and turned to [4, R] where it is used.
import type { Config } from "../../src/model/config.ts";
import {
  add,
  block_diagonal,
  causal_conv1d,
  embed,
  gelu_mul,
  linear,
  local_attention,
  rg_lru,
  rms_norm,
  silu_mul,
  soft_cap,
} from "./kernels.ts";
import type { Tensors } from "./safetensors.ts";

/** What a conversation carries: `layers.{i}.rg_lru` [R], `.conv1d` [3, R], `.keys` and `.values` [W, C], a ring. */
export interface ReferenceState {
  position: number;
  entries: ReadonlyMap<string, Float64Array>;
}

export interface ReferenceModel {
  config: Config;
  tensors: Tensors;
  /** What keys and values are rounded to; `f32` leaves them as they are. */
  kv: "f32" | "bf16";
}

/** A model ready to be run. */
export function referenceModel(config: Config, tensors: Tensors, kv: "f32" | "bf16" = "f32"): ReferenceModel {
  return { config, tensors, kv };
}

/** The state of a conversation that has read nothing. */
export const emptyReferenceState: ReferenceState = { position: 0, entries: new Map() };

/** Reads `tokens` after `state`. Logits [T, V] of every position, and the state after the last. */
export function forward(
  { config, tensors, kv }: ReferenceModel,
  tokens: ArrayLike<number>,
  state: ReferenceState = emptyReferenceState,
): { logits: Float64Array; state: ReferenceState } {
  const T = tokens.length;
  const { width: D, lruWidth: R, mlpWidth: E, numHeads: N, numKvHeads, headDim: H, window: W } = config;
  const C = numKvHeads * H;
  const pos = Array.from(tokens, (_, t) => state.position + t);
  const entries = new Map<string, Float64Array>();
  const before = (name: string, length: number) => state.entries.get(name) ?? new Float64Array(length);
  const weight = (name: string) => {
    const values = tensors.get(name);
    if (values === undefined) throw new Error(`the model has no tensor ${name}`);
    return values;
  };
  const norm = (name: string, x: Float64Array) =>
    rms_norm(x, weight(`${name}.weight`), { T, D, epsilon: config.rmsNormEpsilon });
  const project = (name: string, x: Float64Array, K: number, M: number, bias = true) =>
    linear(x, weight(`${name}.weight`), bias ? weight(`${name}.bias`) : undefined, { T, K, M });

  // Of the recurrent block and of the MLP alike, as Hugging Face's `hidden_activation` is.
  const gated = config.activation === "silu" ? silu_mul : gelu_mul;

  const recurrent = (layer: string, x: Float64Array) => {
    const block = `${layer}.temporal_block`;
    const source = weight(`${block}.conv_1d.weight`);
    const taps = Float64Array.from(source, (_, i) => source[(i % R) * 4 + Math.floor(i / R)]!);
    const gate = project(`${block}.linear_y`, x, D, R);
    const conv = causal_conv1d(
      project(`${block}.linear_x`, x, D, R),
      taps,
      weight(`${block}.conv_1d.bias`),
      before(`${layer}.conv1d`, 3 * R),
      { T, R },
    );
    const lruGate = (name: string) =>
      block_diagonal(conv.y, weight(`${block}.rg_lru.${name}_weight`), weight(`${block}.rg_lru.${name}_bias`), {
        T,
        B: N,
        S: R / N,
      });
    const h = rg_lru(
      conv.y,
      lruGate("input_gate"),
      lruGate("recurrent_gate"),
      weight(`${block}.rg_lru.recurrent_param`),
      pos,
      before(`${layer}.rg_lru`, R),
      { T, R },
    );
    entries.set(`${layer}.rg_lru`, h.new_state).set(`${layer}.conv1d`, conv.new_state);
    return project(`${block}.linear_out`, gated(gate, h.y), R, D);
  };

  const attention = (layer: string, x: Float64Array) => {
    const block = `${layer}.temporal_block`;
    const { y, new_keys, new_values } = local_attention(
      project(`${block}.q_proj`, x, D, N * H, config.attentionBias),
      project(`${block}.k_proj`, x, D, C, config.attentionBias),
      project(`${block}.v_proj`, x, D, C, config.attentionBias),
      pos,
      before(`${layer}.keys`, W * C),
      before(`${layer}.values`, W * C),
      { T, N, numKvHeads, H, W, rotaryDim: config.rotaryDim, theta: config.ropeTheta, kv },
    );
    entries.set(`${layer}.keys`, new_keys).set(`${layer}.values`, new_values);
    return project(`${block}.o_proj`, y, N * H, D);
  };

  let x = embed(tokens, weight("embed_tokens.weight"), { D, scale: config.embedScale });
  config.blockTypes.forEach((type, i) => {
    const layer = `layers.${i}`;
    const temporal = type === "recurrent" ? recurrent : attention;
    x = add(x, temporal(layer, norm(`${layer}.temporal_pre_norm`, x)));
    const h = norm(`${layer}.channel_pre_norm`, x);
    const product = gated(
      project(`${layer}.mlp_block.gate_proj`, h, D, E),
      project(`${layer}.mlp_block.up_proj`, h, D, E),
    );
    x = add(x, project(`${layer}.mlp_block.down_proj`, product, E, D));
  });
  const head = weight(config.tied ? "embed_tokens.weight" : "lm_head.weight");
  const logits = linear(norm("final_norm", x), head, undefined, { T, K: D, M: config.vocabSize });
  const cap = config.logitsSoftCap;
  return {
    logits: cap === null ? logits : soft_cap(logits, { cap }),
    state: { position: state.position + T, entries },
  };
}

/** The state after each of `positions`, ascending, while reading `tokens` from the start. */
export function statesAt(
  model: ReferenceModel,
  tokens: ArrayLike<number>,
  positions: readonly number[],
): Map<number, ReferenceState> {
  const all = Array.from(tokens);
  const states = new Map<number, ReferenceState>();
  let state = emptyReferenceState;
  for (const position of positions) {
    state = forward(model, all.slice(state.position, position), state).state;
    states.set(position, state);
  }
  return states;
}

/** The `count` likeliest tokens after `prompt`, one by one; the lowest id wins a tie. */
export function greedy(model: ReferenceModel, prompt: ArrayLike<number>, count: number): number[] {
  const V = model.config.vocabSize;
  const tokens: number[] = [];
  let { logits, state } = forward(model, prompt);
  while (tokens.length < count) {
    const last = logits.subarray(logits.length - V);
    tokens.push(last.indexOf(last.reduce((a, b) => Math.max(a, b))));
    ({ logits, state } = forward(model, tokens.slice(-1), state));
  }
  return tokens;
}
