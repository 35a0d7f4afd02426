// Drives an engine as every comparison does: tokens of a fixed sequence in, greedy tokens that no stop token ends out. Runs
// in Node and in workerd alike, and so knows no files and no clock of its own.
import type { EdgeEngine } from "../../src/engine/edge.ts";
import type { State } from "../../src/model/state.ts";

/** Every decoding starts after so many tokens unless told: the window of the 30 M model is full then. */
export const historyTokens = 512;

/** `count` tokens of a sequence that repeats late and needs no vocabulary but its size. */
export const sampleTokens = (vocabSize: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => 3 + ((i * 7919) % (vocabSize - 3)));

/** The state after so many tokens. */
export async function stateAfter(engine: EdgeEngine, tokens: number): Promise<State> {
  const turn = { tokens: sampleTokens(engine.config.vocabSize, tokens), maxTokens: 0 };
  for (const reply = engine.generate(turn); ;) {
    const next = await reply.next();
    if (next.done) return next.value.state;
  }
}

/** Goes on from a state: one token is read, and then as many are generated as are asked for. */
export function generateFrom(engine: EdgeEngine, state: State, maxTokens = 100_000) {
  return engine.generate({ tokens: [5], state, maxTokens, stopTokens: [], sampling: { temperature: 0 } });
}

/** Ends a reply that has more to say. */
export const drop = (reply: ReturnType<typeof generateFrom>): Promise<unknown> => reply.return(undefined as never);

/** Generates `tokens` tokens from a state, to the end. */
export async function decode(engine: EdgeEngine, state: State, tokens: number): Promise<void> {
  const reply = generateFrom(engine, state, tokens);
  while (!(await reply.next()).done);
}

/** Runs as many passes as decoding does, without what is around them: replies, sampling, pauses for other requests. */
export function forward({ instance }: EdgeEngine, state: State, tokens: number): void {
  const [slotPtr = 0] = instance.layout.slots;
  instance.restore(slotPtr, state);
  for (let i = 0; i < tokens; i++) instance.forward(slotPtr, [5], state.position + i, "last");
  instance.clear(slotPtr);
}
