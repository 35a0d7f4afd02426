// The body of a POST: a safetensors file with the state as it is, the tokens, and the options as JSON in its metadata.
import { encodeHeader } from "../../checkpoint/safetensors.ts";
import type { State } from "../../model/state.ts";
import type { SamplingOptions } from "../sampling.ts";
import { stateTensors, type TensorSpec } from "../state-tensors.ts";
import { formatVersion, turnFormat, type OriginModel } from "./protocol.ts";

/** What a turn reads. */
export interface TurnInput {
  tokens: readonly number[];
  history?: readonly number[];
  replied?: readonly number[];
  /** One that has read nothing need not be sent. */
  state: State;
  /** true: the origin has the state. */
  isWarm?: boolean;
}

/** What is asked of a reply, `options` on the wire. */
export interface GenerateOptions {
  maxTokens: number;
  stop?: readonly string[];
  stopTokens?: readonly number[];
  sampling: SamplingOptions;
  topLogProbabilities?: number;
  /** true: the new state is not to come back. */
  isLast?: boolean;
}

/** The body that asks for a turn, in pieces; `options` are a JSON object of PROTOCOL.md. */
export function encodeTurn(input: TurnInput, options: object, model: OriginModel): Uint8Array[] {
  const { tokens, history = [], replied = [], state, isWarm = false } = input;
  const hasState = state.position > 0 && !isWarm;
  const arrays = Object.entries({ tokens, history, replied }).filter(([, ids]) => ids.length > 0);
  const tensors: TensorSpec[] = [
    ...(hasState ? stateTensors(model.layout) : []),
    ...arrays.map(([name, ids]): TensorSpec => ({ name, dtype: "I32", shape: [ids.length] })),
  ];
  const { bytes: header } = encodeHeader(tensors, {
    format: turnFormat,
    format_version: formatVersion,
    checkpoint: model.checkpoint,
    graph: model.graph,
    options: JSON.stringify(options),
    ...(hasState && { position: String(state.position) }),
  });
  const ids = arrays.map(([, each]) => new Uint8Array(Int32Array.from(each).buffer));
  return [header, ...(hasState ? [state.data] : []), ...ids];
}

/** The options of `generate`. Everything that has a default is sent all the same: both sides then mean the same. */
export function generateOptions(id: string, options: GenerateOptions): object {
  const { sampling } = options;
  return {
    id,
    max_tokens: options.maxTokens,
    stop: options.stop ?? [],
    ...(options.stopTokens && { stop_tokens: options.stopTokens }),
    ...(options.isLast && { return_state: false }),
    ...(options.topLogProbabilities !== undefined && { top_log_probabilities: options.topLogProbabilities }),
    sampling: {
      seed: String(sampling.seed),
      temperature: sampling.temperature,
      top_k: sampling.topK,
      top_p: sampling.topP,
      min_p: sampling.minP,
      frequency_penalty: sampling.frequencyPenalty,
      presence_penalty: sampling.presencePenalty,
      repetition_penalty: sampling.repetitionPenalty,
      logit_bias: Object.fromEntries(sampling.logitBias),
    },
  };
}
