// System texts that many chats begin with are read once: an object of their own keeps the state behind them, for a day
// after it was last used. A prompt that does not begin with exactly the same tokens is read from its beginning. Whoever
// deletes a response, an item or a conversation makes that object forget first: the next chat with the same texts reads
// them again. Chats of completions end by themselves, and make nothing forget.
import type { PlacedEngine } from "../engine/placed.ts";
import { readAll } from "../engine/read-all.ts";
import { GriffinError } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { renderSystemPrefix } from "../model/chat-template.ts";
import type { State } from "../model/state.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import { orDamaged } from "./parts.ts";
import { rememberedMs, type SharedStart, type TurnOptions } from "./protocol.ts";
import { identityOf } from "./recall.ts";
import type { Store } from "./store.ts";

/**
 * Fewer tokens are read as soon as their state is asked for: with 85 tokens of pocket a turn took 20 ms instead of 32
 * (two cores of an Intel Xeon, 2026-11-26, vitest run test/worker/shared-start.test.ts).
 */
export const leastSharedTokens = 64;
/** States above that are not passed around. */
const mostStateBytes = 4 * 2 ** 20;
/** States that one object keeps: with other tools, and other models, the same texts are other tokens. */
const mostStarts = 16;
/** So often at most it is written down that a state was used. */
const touchEveryMs = 3_600_000;

export interface Start {
  state: State;
  isNew: boolean;
}

/** The state behind the system texts that a prompt begins with; null where there is none to share. Never throws. */
export async function sharedStart(
  messages: readonly ChatMessage[],
  prompt: readonly number[],
  engine: PlacedEngine,
  options: TurnOptions,
  { CONVERSATIONS }: Env,
): Promise<Start | null> {
  const { tokenizer, chat, stateLayout } = engine;
  const { model, sharedBy } = options;
  if (sharedBy === null || tokenizer === null || chat === null) return null;
  if (stateLayout.totalBytes > mostStateBytes) return null;
  const tokens = renderSystemPrefix(messages, prompt, tokenizer, chat);
  if (tokens.length < leastSharedTokens) return null;
  try {
    const stub = CONVERSATIONS.get(CONVERSATIONS.idFromName(sharedBy));
    const { position, data, isNew } = await stub.sharedStart(model, tokens, options);
    if (position !== tokens.length || data.byteLength !== stateLayout.totalBytes) return null;
    return { state: { position, data: new Uint8Array(data) }, isNew };
  } catch {
    // Nobody's reply depends on it: the prompt is read from its beginning.
    return null;
  }
}

/**
 * Makes the objects forget that may keep texts of a conversation's turns, and again where a turn began or ended
 * meanwhile: it may have asked them to keep its texts after they forgot. Turns that run at the end may still ask. Throws
 * `internal` where an object does not answer: then nothing may be deleted yet. `known`: the conversation's store; throws
 * where it was deleted meanwhile.
 */
export async function forgetSharedStarts(known: () => Store, { CONVERSATIONS }: Env): Promise<void> {
  for (let seen = ""; seen !== turnsSeen(known());) {
    seen = turnsSeen(known());
    const stubs = known()
      .sharedNames()
      .map((name) => CONVERSATIONS.get(CONVERSATIONS.idFromName(name)));
    try {
      await Promise.all(stubs.map((stub) => stub.forgetSharedStarts()));
    } catch (cause) {
      const error_name = cause instanceof Error ? cause.name : "unknown";
      console.error(JSON.stringify({ event: "shared_start_not_forgotten", error_name }));
      // Whatever it was, it is not the caller's fault and may pass.
      throw new GriffinError("internal", "Texts kept for many chats could not be deleted, so nothing was.", { cause });
    }
  }
}

/** Changes when a turn begins or ends. */
const turnsSeen = (store: Store): string => [store.newestTurn(), ...store.unfinishedTurns()].join();

/** The state behind these tokens: the one that is kept, or one computed now and kept from now on. */
export async function keepSharedStart(
  store: Store,
  model: string,
  tokens: readonly number[],
  options: TurnOptions,
  env: Env,
): Promise<SharedStart> {
  const engine = await engineOf(model, env);
  const identity = identityOf(engine);
  const wanted = tokens.join();
  for (const { turn, createdMs } of store.children(null)) {
    if (orDamaged(() => store.promptTokens(turn))?.join() !== wanted) continue;
    const { state } = store.loadSnapshot(turn, identity);
    if (state === undefined) continue;
    if (createdMs + touchEveryMs < Date.now()) store.touch(turn, Date.now());
    return { ...state, isNew: false };
  }
  // Of a batch as of a chat: it is read where a chat would read it again.
  const { state } = await readAll(engine.generate({ tokens, maxTokens: 0 }), () => undefined);
  const nowMs = Date.now();
  store.importState(null, { state, identity, tokens, options, nowMs });
  store.removeOldTurns(nowMs - rememberedMs, mostStarts);
  return { ...state, isNew: true };
}
