// The wire format of a state: safetensors with the entries of the model's layout, byte for byte as the engine holds
// them, and the last tokens that were read, for penalties and for what is read next. Its metadata names the model and
// the position; a SHA-256 over both finds damage. What is read is a stranger's file: every part of it is checked.
import { bytesToHex } from "@noble/hashes/utils.js";
import { portableHash } from "../checkpoint/hash.ts";
import { encodeHeader, headerLengthBytes, type SafetensorsHeader } from "../checkpoint/safetensors.ts";
import { GriffinError } from "../errors.ts";
import { entryValues, isRing, maxPosition, type State, type StateEntry, type StateLayout } from "../model/state.ts";
import { readSmallHeader, stateTensors, tensorsFault, type TensorSpec } from "./state-tensors.ts";

/** A state and where it came from. */
export interface CarriedState {
  state: State;
  /** The last tokens of its past, oldest first: one at least, at most as many as penalties look back. */
  tokens: readonly number[];
}

/** The model that a state belongs to. */
export interface StateModel {
  /** SHA-256 of the weights. */
  checkpoint: string;
  /** SHA-256 of graph.onnx. */
  graph: string;
  layout: StateLayout;
  /** So far back penalties look. */
  window: number;
  vocabSize: number;
}

const format = "griffin_state";
const formatVersion = "1";
const tokensName = "tokens";
/** Names, shapes and metadata of the largest models stay far below. */
const headerLimitBytes = 2 ** 17;

/** The most bytes that a file of this model's states has. */
export const stateFileLimitBytes = ({ layout, window }: Pick<StateModel, "layout" | "window">): number =>
  headerLengthBytes + headerLimitBytes + layout.totalBytes + 4 * mostTokens({ window });

/** The file of a state. */
export function encodeStateFile({ state, tokens }: CarriedState, model: StateModel): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(model.layout.totalBytes + 4 * tokens.length);
  data.set(state.data);
  const view = new DataView(data.buffer, model.layout.totalBytes);
  tokens.forEach((token, i) => view.setInt32(4 * i, token, true));
  const names = {
    format,
    format_version: formatVersion,
    checkpoint: model.checkpoint,
    graph: model.graph,
    position: String(state.position),
    last_token: String(tokens.at(-1)),
  };
  const { bytes: header } = encodeHeader(tensorsOf(model.layout, tokens.length), {
    ...names,
    sha256: digest(names, data),
  });
  const file = new Uint8Array(header.byteLength + data.byteLength);
  file.set(header);
  file.set(data, header.byteLength);
  return file;
}

/** The state in a file. Throws `invalid_state`, saying what is wrong with it, unless it is whole and this model's. */
export function decodeStateFile(file: Uint8Array, model: StateModel): CarriedState {
  const header = readHeader(file);
  const { sha256, ...names } = header.metadata;
  if (names["format"] !== format) throw bad(`It is no state: its metadata does not say format ${format}.`);
  if (names["format_version"] !== formatVersion) {
    throw bad(`This server reads version ${formatVersion} of the format.`);
  }
  if (names["checkpoint"] !== model.checkpoint || names["graph"] !== model.graph) {
    throw bad("It belongs to another model: the hashes of the checkpoint or of the graph are not this model's.");
  }
  const data = file.subarray(header.dataStartBytes);
  if (digest(names, data) !== sha256) throw bad("It is damaged: its bytes are not the ones that its sha256 is of.");

  const count = header.tensors.get(tokensName)?.shape[0] ?? 0;
  const fault = tensorsFault(header, tensorsOf(model.layout, count), data.byteLength);
  if (fault !== undefined) throw bad(fault);
  const position = Number(names["position"]);
  if (!/^\d{1,10}$/.test(names["position"] ?? "") || position < 1 || position > maxPosition) {
    throw bad(`Its position is not one from 1 to ${maxPosition}.`);
  }
  if (count < 1 || count > Math.min(position, mostTokens(model))) {
    throw bad(
      `It has ${count} tokens; a state at position ${position} has 1 to ${mostTokens(model)} of its last ones.`,
    );
  }
  const view = new DataView(data.buffer, data.byteOffset + model.layout.totalBytes);
  const tokens = Array.from({ length: count }, (_, i) => view.getInt32(4 * i, true));
  if (tokens.some((token) => token < 0 || token >= model.vocabSize)) throw bad("A token is not in the vocabulary.");
  if (String(tokens.at(-1)) !== names["last_token"])
    throw bad("Its last token is not the one that its metadata names.");

  const state = { position, data: data.slice(0, model.layout.totalBytes) };
  for (const entry of model.layout.entries) checkEntry(state, entry);
  return { state, tokens };
}

/** A model without penalties' past still needs the last token: what is read next depends on it. */
const mostTokens = ({ window }: Pick<StateModel, "window">): number => Math.max(window, 1);

const tensorsOf = (layout: StateLayout, tokens: number): TensorSpec[] => [
  ...stateTensors(layout),
  { name: tokensName, dtype: "I32", shape: [tokens] },
];

function readHeader(file: Uint8Array): SafetensorsHeader {
  try {
    return readSmallHeader(file, headerLimitBytes, "the state");
  } catch (cause) {
    throw bad("It is no safetensors file, or cut off.", cause);
  }
}

/** Refuses values that no pass computes: such as are not finite, and rows of a ring that nothing was written to. */
function checkEntry(state: State, entry: StateEntry): void {
  const values = entryValues(state, entry);
  if (!values.every(Number.isFinite)) throw bad(`${entry.name} has values that are not finite.`);
  if (!isRing(entry) || state.position >= entry.shape[0]) return;
  const unused = values.subarray((values.length / entry.shape[0]) * state.position);
  if (unused.some((value) => value !== 0)) throw bad(`${entry.name} has values behind position ${state.position}.`);
}

/** SHA-256 of the metadata, by name, and of the data. */
function digest(names: Readonly<Record<string, string | undefined>>, data: Uint8Array): string {
  const hash = portableHash();
  const sorted = Object.entries(names).toSorted(([a], [b]) => (a < b ? -1 : 1));
  hash.update(new TextEncoder().encode(JSON.stringify(sorted)));
  hash.update(data);
  return bytesToHex(hash.digest());
}

const bad = (message: string, cause?: unknown) =>
  new GriffinError("invalid_state", `This state cannot be used. ${message}`, { cause });
