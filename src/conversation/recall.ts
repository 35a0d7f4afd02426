// What a turn goes on from: the state kept with its parent, or, when that is gone, what has to be read again to have it.
import type { EdgeEngine } from "../engine/edge.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { State } from "../model/state.ts";
import { orDamaged } from "./parts.ts";
import type { StateOrigin } from "./protocol.ts";
import type { ModelIdentity, Store, TurnStep } from "./store.ts";
import { spokenMessages } from "./turn-format.ts";

export interface Past {
  origin: StateOrigin;
  state: State | undefined;
  /** The turn with which `state` is kept. */
  base: number | null;
  /** Tokens to read before the new ones: what was read and generated since `state`. */
  tokens: number[];
  /** Messages to render again in front of the new ones, because their tokens were another model's. */
  messages: ChatMessage[];
  /** The last token of the past; null when there is none. */
  lastToken: number | null;
}

/** What names a state's model: a state fits no other. */
export function identityOf(engine: EdgeEngine): ModelIdentity {
  const { files } = engine.manifest;
  return {
    checkpoint: files["weights.safetensors"].sha256,
    graph: files["graph.onnx"].sha256,
    layout: engine.instance.stateLayout,
  };
}

/** The past of a turn whose parent is `parent`: from the nearest state on its path, or from its tokens, or its texts. */
export function recall(store: Store, parent: number | null, engine: EdgeEngine): Past {
  // Damaged tokens would make a wrong state; the texts are another copy of them.
  return orDamaged(() => fromTokens(store, parent, engine)) ?? fromTexts(store, parent);
}

/** null where tokens on the way are another model's, or the way does not lead to the beginning. */
function fromTokens(store: Store, parent: number | null, engine: EdgeEngine): Past | null {
  const past: Past = { origin: "cold", state: undefined, base: null, tokens: [], messages: [], lastToken: null };
  const newestFirst: number[][] = [];
  const whole = (found: Past): Past => ({ ...found, tokens: newestFirst.toReversed().flat() });
  const identity = identityOf(engine);
  for (const { turn, checkpoint } of pathUp(store, parent)) {
    const { state } = store.loadSnapshot(turn, identity);
    if (state === undefined && checkpoint !== identity.checkpoint) return null;
    const reply = store.replyTokens(turn);
    past.lastToken ??= reply.at(-1) ?? store.promptTokens(turn).at(-1) ?? null;
    past.origin = turn === parent && state !== undefined ? "restored" : "recomputed";
    if (state !== undefined) return whole({ ...past, state, base: turn });

    const prompt = store.promptTokens(turn);
    newestFirst.push(reply, prompt);
    // A prompt that begins a conversation has read all there was before it.
    if (prompt[0] === engine.config.bosTokenId) return whole(past);
  }
  return parent === null ? past : null;
}

function fromTexts(store: Store, parent: number | null): Past {
  const path = parent === null ? [] : store.path(parent).filter(({ removed }) => !removed);
  const messages = path.flatMap((row) => [...spokenMessages(row), { role: "model" as const, content: row.text }]);
  return { origin: "recomputed", state: undefined, base: null, tokens: [], messages, lastToken: null };
}

/** The last `count` tokens of the path to a turn, oldest first. */
export function recentTokens(store: Store, parent: number | null, count: number): number[] {
  const newestFirst: number[] = [];
  for (const { turn } of pathUp(store, parent)) {
    const tokens = [...store.promptTokens(turn), ...store.replyTokens(turn)];
    for (const token of tokens.toReversed()) newestFirst.push(token);
    if (newestFirst.length >= count) break;
  }
  return newestFirst.slice(0, count).toReversed();
}

/** A turn, its parent, and so on to the beginning, each read when it is looked at: paths grow long. */
function* pathUp(store: Store, from: number | null): Generator<TurnStep> {
  for (let row = from === null ? null : store.step(from); row !== null;) {
    yield row;
    row = row.parent === null ? null : store.step(row.parent);
  }
}
