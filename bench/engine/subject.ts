// A model that is ready to run, ours or a peer's, as the comparisons of whole models see it; and ours.
import { openFolder } from "../../src/cli/files.ts";
import { nodeHash } from "../../src/cli/hash.ts";
import { threads as threadsOf } from "../../src/cli/team.ts";
import { EdgeEngine, type EdgeOptions } from "../../src/engine/edge.ts";
import type { State } from "../../src/model/state.ts";
import type { Format } from "../../src/model/weights.ts";
import { checkpointFolder, type ModelName } from "../models.ts";
import { kernelModule } from "../module.ts";
import type { Contender } from "../rounds.ts";
import { drop, generateFrom, historyTokens, sampleTokens, stateAfter } from "./drive.ts";

export interface Subject {
  name: string;
  /** Begins to generate after `historyTokens` tokens; each call of what it resolves to makes one more. */
  begin(): Promise<Reply>;
  /** Reads tokens from nothing, with the logits of every one. */
  prefill(): Promise<void>;
  /** Restores the state after the history from its file; the first call of what it resolves to makes a token. */
  resume?(): Promise<Reply>;
  /** Frees its memory. */
  close?(): Promise<void>;
}

export interface Reply {
  next(): Promise<unknown>;
  end(): Promise<unknown>;
}

export const promptTokens = 256;
/** Peers read a prompt at once; ours reads it in chunks as long as pay. Servers read large models in shorter ones. */
export const longChunkTokens = 64;
const sampleMs = 150;

/** Tokens a second, one after another. */
export const decoding = ({ name, begin }: Subject): Contender => ({
  name,
  unit: "tokens/s",
  async measure() {
    const reply = await begin();
    await reply.next();
    const startMs = performance.now();
    let tokens = 0;
    while (performance.now() - startMs < sampleMs) {
      await reply.next();
      tokens++;
    }
    const seconds = (performance.now() - startMs) / 1000;
    await reply.end();
    return tokens / seconds;
  },
});

/** Tokens a second of a prompt read at once. */
export const prefilling = ({ name, prefill }: Subject): Contender => ({
  name,
  unit: "tokens/s",
  async measure() {
    const startMs = performance.now();
    let prompts = 0;
    while (performance.now() - startMs < sampleMs) {
      await prefill();
      prompts++;
    }
    return (prompts * promptTokens) / ((performance.now() - startMs) / 1000);
  },
});

/** Milliseconds from a stored state to the first token. */
export const resuming = ({ name, resume }: Subject): Contender => ({
  name,
  unit: "ms",
  async measure() {
    const startMs = performance.now();
    const reply = await resume?.();
    await reply?.next();
    const elapsedMs = performance.now() - startMs;
    await reply?.end();
    return elapsedMs;
  },
});

/** A model in an engine of its own. */
export async function loadModel(
  name: ModelName,
  format: Format,
  options: EdgeOptions = {},
  threads = 1,
): Promise<EdgeEngine> {
  const open = openFolder(await checkpointFolder(name, format));
  const team = threads === 1 ? {} : { team: threadsOf(threads) };
  return EdgeEngine.load(await kernelModule(threads), open, { ...options, ...team, createHash: nodeHash });
}

/** A model of ours. */
export async function griffin(model: ModelName, format: Format, threads = 1): Promise<Subject> {
  const sizes = { chunkTokens: longChunkTokens, logitsTokens: longChunkTokens };
  const engine = await loadModel(model, format, sizes, threads);
  const name = `Griffin Edge ${format}${threads === 1 ? "" : `, ${threads} threads`}`;
  return griffinFrom(name, engine, await stateAfter(engine, historyTokens));
}

/** An engine of ours that goes on from a state. */
export function griffinFrom(name: string, engine: EdgeEngine, state: State): Subject {
  const prompt = sampleTokens(engine.config.vocabSize, promptTokens);
  return {
    name,
    async begin() {
      const reply = generateFrom(engine, state);
      return { next: () => reply.next(), end: () => drop(reply) };
    },
    async prefill() {
      for await (const logits of engine.score(prompt)) void logits;
    },
    close: () => engine.close(),
  };
}
