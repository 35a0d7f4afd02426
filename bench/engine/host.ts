// What every host does with a task: load the checkpoint the first time, then decode from a stored state.
import type { EdgeEngine } from "../../src/engine/edge.ts";
import type { State } from "../../src/model/state.ts";
import { decode, forward, historyTokens, stateAfter } from "./drive.ts";

/** What to decode, and how much of it. */
export interface Task {
  /** A checkpoint's folder in .bench/checkpoints. */
  folder: string;
  tokens: number;
  /** As replies are generated, or pass after pass and nothing else. */
  through: "generate" | "forward";
}

/** Runs tasks with engines from `load`, each kept. */
export function decoder(load: (folder: string) => Promise<EdgeEngine>): (task: Task) => Promise<void> {
  const ready = new Map<string, { engine: EdgeEngine; state: State }>();
  return async ({ folder, tokens, through }) => {
    let loaded = ready.get(folder);
    if (loaded === undefined) {
      const engine = await load(folder);
      loaded = { engine, state: await stateAfter(engine, historyTokens) };
      ready.set(folder, loaded);
    }
    const { engine, state } = loaded;
    if (through === "generate") await decode(engine, state, tokens);
    else forward(engine, state, tokens);
  };
}
