// States on their way out of a conversation and into one, as files. Going out, a state that was dropped is computed
// again first. Coming in, it becomes a turn of its own, before which there is nothing.
import type { PlacedEngine } from "../engine/placed.ts";
import { readAll } from "../engine/read-all.ts";
import { decodeStateFile, encodeStateFile, stateFileLimitBytes, type StateModel } from "../engine/state-file.ts";
import { GriffinError } from "../errors.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import type { TurnOptions } from "./protocol.ts";
import { identityOf, recall, recentTokens } from "./recall.ts";
import { snapshotLimit } from "./snapshots.ts";
import type { NewImport, Store } from "./store.ts";
import { branchHead, turnRow } from "./view.ts";

/** What crosses between objects: hosted, a message has 32 MiB at most, and there is more in it than the file. */
const mostFileBytes = 31 * 2 ** 20;

/** The most bytes that a file of this model's states has. Throws `unsupported` where that is too much to carry. */
export async function fileLimitBytes(model: string, env: Env): Promise<number> {
  return limitOf(await engineOf(model, env));
}

/** The state after the last response of a branch, as a file. Throws `invalid_state` where there is none. */
export async function exportState(store: Store, branch: number, env: Env): Promise<Uint8Array> {
  const head = branchHead(store, branch);
  if (head === null) throw invalid("Nothing was said here yet, so there is no state.");
  const engine = await engineOf(turnRow(store, head).options.model, env);
  limitOf(engine);
  const past = recall(store, head, engine);
  if (past.messages.length > 0) {
    throw invalid("No response has read the last messages of this conversation yet: ask for one, then for its state.");
  }
  const { tokens: unread, state: kept } = past;
  const work = { tokens: unread, state: kept, maxTokens: 0 };
  const state = unread.length === 0 ? kept : (await readAll(engine.generate(work), () => undefined)).state;
  if (state === undefined) throw invalid("There is no state after this conversation.");
  const tokens = recentTokens(store, head, engine, Math.max(engine.config.window, 1));
  return encodeStateFile({ state, tokens }, modelOf(engine));
}

/** A turn made of a file; it is stored by the caller. Throws `invalid_state` unless the file is whole and the model's. */
export async function readImport(file: Uint8Array, options: TurnOptions, env: Env): Promise<NewImport> {
  const engine = await engineOf(options.model, env);
  const { state, tokens } = decodeStateFile(file, modelOf(engine));
  return { state, tokens, identity: identityOf(engine), options, nowMs: Date.now() };
}

/** Refuses one import more than an object keeps: none of their states is ever dropped. */
export function checkImports(store: Store): void {
  if (store.importCount() < snapshotLimit) return;
  throw new GriffinError(
    "invalid_argument",
    `A conversation and its forks keep at most ${snapshotLimit} imported states: delete some of their responses.`,
  );
}

function limitOf(engine: PlacedEngine): number {
  const bytes = stateFileLimitBytes(modelOf(engine));
  if (bytes <= mostFileBytes) return bytes;
  throw new GriffinError(
    "unsupported",
    `A state of this model takes up to ${bytes} bytes as a file; ${mostFileBytes} can be carried.`,
  );
}

function modelOf(engine: PlacedEngine): StateModel {
  const { window, vocabSize } = engine.config;
  return { ...identityOf(engine), window, vocabSize };
}

const invalid = (message: string) => new GriffinError("invalid_state", message);
