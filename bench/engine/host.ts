// What every host does with a task: load the checkpoint the first time, then decode from a stored state, or more.
import type { EdgeEngine } from "../../src/engine/edge.ts";
import type { State } from "../../src/model/state.ts";
import { decode, drop, forward, generateFrom, historyTokens, sampleTokens, stateAfter } from "./drive.ts";

/** Conversations that an engine of a host holds at once. */
export const hostSlots = 2;

/** What to do, and how much of it. */
export interface Task {
  /** A checkpoint's folder in .bench/checkpoints. */
  folder: string;
  tokens: number;
  /**
   * generate, forward: decode so many tokens, as replies are generated, or pass after pass and nothing else.
   * beside: generate while another chat reads a prompt of so many. load: nothing more.
   */
  through: "generate" | "forward" | "beside" | "load";
}

/** Does tasks with engines from `load`, each kept. Yields when a token was generated that somebody waits for. */
export function worker(load: (folder: string) => Promise<EdgeEngine>) {
  const engines = new Map<string, EdgeEngine>();
  const states = new Map<string, State>();
  return async function* work({ folder, tokens, through }: Task): AsyncGenerator<void> {
    const engine = engines.get(folder) ?? (await load(folder));
    engines.set(folder, engine);
    if (through === "load") return;
    const state = states.get(folder) ?? (await stateAfter(engine, historyTokens));
    states.set(folder, state);
    if (through === "generate") await decode(engine, state, tokens);
    else if (through === "forward") forward(engine, state, tokens);
    else yield* beside(engine, state, tokens);
  };
}

/** The tokens of one chat for as long as another one reads its prompt. */
async function* beside(engine: EdgeEngine, state: State, promptTokens: number): AsyncGenerator<void> {
  const reply = generateFrom(engine, state);
  await reply.next();
  let isReading = true;
  const prompt = engine.generate({ tokens: sampleTokens(engine.config.vocabSize, promptTokens), maxTokens: 0 });
  const read = prompt.next().finally(() => (isReading = false));
  while (isReading) {
    await reply.next();
    yield;
  }
  await Promise.all([read, drop(reply)]);
}
