// The last frame of a turn: a safetensors file with the new state, and the logits of a prefill. It must be whole, of the
// model that was asked for, and say what fits the turn: an origin that says anything else has failed.
import { z } from "zod";
import { headerLengthBytes, type SafetensorsHeader } from "../../checkpoint/safetensors.ts";
import { checkShape, parseJson } from "../../model/parse-json.ts";
import { maxPosition, type State } from "../../model/state.ts";
import type { FinishReason } from "../engine.ts";
import { readSmallHeader, stateTensors, tensorsFault, type TensorSpec } from "../state-tensors.ts";
import { formatVersion, headerLimitBytes, originFailed, resultFormat, type OriginModel } from "./protocol.ts";

export interface OriginResult {
  /** Without data where it was not to come back. */
  state: State;
  /** [V], of the last token that was read. */
  logits?: Float32Array<ArrayBuffer>;
  finishReason: FinishReason;
  stoppedBy?: number | string;
  promptTokens: number;
  completionTokens: number;
  computedTokens: number;
  /** Of the state, where the origin kept it. */
  fingerprint?: string;
}

const count = z
  .string()
  .regex(/^\d{1,10}$/)
  .transform(Number)
  .pipe(z.number().max(maxPosition));

const facts = z.object({
  position: count,
  finish_reason: z.enum(["stop", "length", "cancelled"]),
  stopped_by: z.string().optional(),
  prompt_tokens: count,
  completion_tokens: count,
  computed_tokens: count,
  fingerprint: z.string().max(128).optional(),
});

const logitsName = "logits";
const name = "the origin's result";

/** The most bytes that a result of this model has. */
export const resultLimitBytes = ({ layout, vocabSize }: OriginModel): number =>
  headerLengthBytes + headerLimitBytes + layout.totalBytes + 4 * vocabSize;

/** The result in a frame's payload; its state is a view of it. Throws `origin_failed`. */
export function decodeResult(payload: Uint8Array<ArrayBuffer>, model: OriginModel, hasState = true): OriginResult {
  const header = readHeader(payload);
  const { metadata } = header;
  if (metadata["format"] !== resultFormat || metadata["format_version"] !== formatVersion) {
    throw originFailed(`The origin's result is not ${resultFormat} of version ${formatVersion}.`);
  }
  if (metadata["checkpoint"] !== model.checkpoint || metadata["graph"] !== model.graph) {
    throw originFailed("The origin ran another checkpoint or graph than it was asked to.");
  }
  const data = payload.subarray(header.dataStartBytes);
  const hasLogits = header.tensors.has(logitsName);
  const logitsSpec: TensorSpec = { name: logitsName, dtype: "F32", shape: [model.vocabSize] };
  const expected = [...(hasState ? stateTensors(model.layout) : []), ...(hasLogits ? [logitsSpec] : [])];
  const fault = tensorsFault(header, expected, data.byteLength);
  if (fault !== undefined) throw originFailed(`The origin's result cannot be used. ${fault}`);

  const said = checkShape(facts, metadata, name, "origin_failed");
  const stateBytes = hasState ? model.layout.totalBytes : 0;
  return {
    state: { position: said.position, data: data.subarray(0, stateBytes) },
    ...(hasLogits && { logits: new Float32Array(data.slice(stateBytes).buffer) }),
    finishReason: said.finish_reason,
    ...(said.finish_reason === "stop" && { stoppedBy: stoppedBy(said.stopped_by) }),
    promptTokens: said.prompt_tokens,
    completionTokens: said.completion_tokens,
    computedTokens: said.computed_tokens,
    ...(said.fingerprint !== undefined && { fingerprint: said.fingerprint }),
  };
}

function readHeader(payload: Uint8Array): SafetensorsHeader {
  try {
    return readSmallHeader(payload, headerLimitBytes, name);
  } catch (cause) {
    throw originFailed("The origin's result is no safetensors file, or cut off.", cause);
  }
}

function stoppedBy(text: string | undefined): number | string {
  const value = text === undefined ? undefined : parseJson(text, `${name}: "stopped_by"`, "origin_failed");
  return checkShape(z.union([z.int().min(0), z.string()]), value, `${name}: "stopped_by"`, "origin_failed");
}
