// A small model of layouts and hashes, states of it, and what an origin would answer, made byte by byte.
import { encodeHeader } from "../../../src/checkpoint/safetensors.ts";
import { stateTensors } from "../../../src/engine/state-tensors.ts";
import { frameKinds, type OriginModel } from "../../../src/engine/origin/protocol.ts";
import type { Config } from "../../../src/model/config.ts";
import { stateLayout, type KvDtype, type State } from "../../../src/model/state.ts";

const sizes = { blockTypes: ["recurrent", "attention"], lruWidth: 3, numKvHeads: 1, headDim: 3, window: 3 };

export const modelOf = (kv: KvDtype): OriginModel => ({
  checkpoint: "c".repeat(64),
  graph: "9".repeat(64),
  layout: stateLayout(sizes as unknown as Config, kv),
  vocabSize: 50,
});

/** A state whose bytes count up from `first`. */
export const stateOf = ({ layout }: OriginModel, position: number, first = 0): State => ({
  position,
  data: Uint8Array.from({ length: layout.totalBytes }, (_, i) => first + i),
});

export interface Told {
  state: State;
  logits?: readonly number[];
  facts?: Record<string, string | undefined>;
}

/** The payload of a result frame; facts that are undefined are left out. */
export function resultOf(model: OriginModel, { state, logits, facts }: Told): Uint8Array<ArrayBuffer> {
  const metadata = {
    format: "griffin_result",
    format_version: "1",
    checkpoint: model.checkpoint,
    graph: model.graph,
    position: String(state.position),
    finish_reason: "length",
    prompt_tokens: "0",
    completion_tokens: "0",
    computed_tokens: "0",
    ...facts,
  };
  const said = Object.entries(metadata).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const logitsSpec = logits ? [{ name: "logits", dtype: "F32" as const, shape: [logits.length] }] : [];
  const { bytes, fileBytes } = encodeHeader([...stateTensors(model.layout), ...logitsSpec], Object.fromEntries(said));
  const file = new Uint8Array(fileBytes);
  file.set(bytes);
  file.set(state.data, bytes.byteLength);
  if (logits) file.set(new Uint8Array(Float32Array.from(logits).buffer), bytes.byteLength + state.data.byteLength);
  return file;
}

/** A frame's bytes. */
export function frameOf(kind: keyof typeof frameKinds | number, payload: Uint8Array | object = new Uint8Array()) {
  const bytes = payload instanceof Uint8Array ? payload : new TextEncoder().encode(JSON.stringify(payload));
  const frame = new Uint8Array(5 + bytes.byteLength);
  frame[0] = typeof kind === "number" ? kind : frameKinds[kind];
  new DataView(frame.buffer).setUint32(1, bytes.byteLength, true);
  frame.set(bytes, 5);
  return frame;
}

/** What a failing call says. */
export async function faultOf(act: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await act();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error("it did not fail");
}

/** Everything that a generator yields. */
export async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const value of values) all.push(value);
  return all;
}
