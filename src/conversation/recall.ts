// What a turn goes on from: the state kept with its parent, or, when that is gone, what has to be read again to have it.
import type { PlacedEngine } from "../engine/placed.ts";
import { GriffinError } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { State } from "../model/state.ts";
import { keptMessages, keptTexts } from "./items.ts";
import { orDamaged } from "./parts.ts";
import type { StateOrigin } from "./protocol.ts";
import type { ModelIdentity, Store, TurnStep } from "./store.ts";
import { toldTools } from "./turn-format.ts";

export interface Past {
  origin: StateOrigin;
  state: State | undefined;
  /** The turn with which `state` is kept. */
  base: number | null;
  /** Tokens to read before the new ones: what was read and generated since `state`. */
  tokens: number[];
  /** Messages to render in front of the new ones: no reply has read them yet, or their tokens were another model's. */
  messages: ChatMessage[];
  /** The last token of the past; null when there is none. */
  lastToken: number | null;
}

/** What names a state's model: a state fits no other. */
export function identityOf(engine: PlacedEngine): ModelIdentity {
  const { files } = engine.manifest;
  return {
    checkpoint: files["weights.safetensors"].sha256,
    graph: files["graph.onnx"].sha256,
    layout: engine.stateLayout,
  };
}

/** The past of a turn whose parent is `parent`: from the nearest state on its path, or from its tokens, or its texts. */
export function recall(store: Store, parent: number | null, engine: PlacedEngine): Past {
  // Damaged tokens would make a wrong state; the texts are another copy of them.
  return orDamaged(() => fromTokens(store, parent, engine)) ?? fromTexts(store, parent, engine);
}

/** null where tokens on the way are another model's, or the way does not lead to the beginning. */
function fromTokens(store: Store, parent: number | null, engine: PlacedEngine): Past | null {
  const past: Past = { origin: "cold", state: undefined, base: null, tokens: [], messages: [], lastToken: null };
  const newestFirst: number[][] = [];
  const whole = (found: Past): Past => ({ ...found, tokens: newestFirst.toReversed().flat() });
  const identity = identityOf(engine);
  /** The last turn that read anything: behind it are items that nothing has read. */
  let head: number | null = null;
  for (const { turn, kind, checkpoint } of pathUp(store, parent)) {
    if (kind === "items") {
      // What is before the head, its tokens have in them.
      if (head === null) past.messages.unshift(...unreadItems(store, turn));
      continue;
    }
    head ??= turn;
    const { state } = store.loadSnapshot(turn, identity);
    if (state === undefined && checkpoint !== identity.checkpoint) return null;
    const reply = store.replyTokens(turn);
    past.lastToken ??= reply.at(-1) ?? store.promptTokens(turn).at(-1) ?? null;
    past.origin = turn === head && state !== undefined ? "restored" : "recomputed";
    if (state !== undefined) return whole({ ...past, state, base: turn });

    const prompt = store.promptTokens(turn);
    newestFirst.push(reply, prompt);
    // A prompt that begins a conversation has read all there was before it.
    if (prompt[0] === engine.config.bosTokenId) return whole(past);
  }
  return head === null ? past : null;
}

/** Throws `invalid_state` where the texts go on from a state that was brought here and is gone: it cannot be made again. */
function fromTexts(store: Store, parent: number | null, engine: PlacedEngine): Past {
  const path = parent === null ? [] : store.path(parent);
  const start = path.findLastIndex(({ kind }) => kind === "state");
  const messages = path
    .slice(start + 1)
    .flatMap((row) => (row.removed ? [] : [...toldTools(row.options), ...keptTexts(row)]));
  const past: Past = { origin: "recomputed", state: undefined, base: null, tokens: [], messages, lastToken: null };
  const imported = path[start];
  if (imported === undefined) return past;
  const { state } = store.loadSnapshot(imported.turn, identityOf(engine));
  if (state === undefined) throw lostImport();
  return { ...past, state, base: imported.turn, lastToken: store.promptTokens(imported.turn).at(-1) ?? null };
}

function unreadItems(store: Store, turn: number): ChatMessage[] {
  const row = store.turn(turn);
  return row === null ? [] : keptMessages(row);
}

const lostImport = () =>
  new GriffinError(
    "invalid_state",
    "This conversation goes on from an imported state that was deleted or damaged, or is another model's. Nothing else " +
      "is known of what came before, so it cannot be computed again: import the state once more.",
  );

/** The last `count` tokens of the path to a turn, oldest first; none of what was read again from its beginning. */
export function recentTokens(store: Store, parent: number | null, { config }: PlacedEngine, count: number): number[] {
  const newestFirst: number[] = [];
  for (const { turn } of pathUp(store, parent)) {
    const tokens = [...store.promptTokens(turn), ...store.replyTokens(turn)];
    for (const token of tokens.toReversed()) newestFirst.push(token);
    if (newestFirst.length >= count || tokens[0] === config.bosTokenId) break;
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
