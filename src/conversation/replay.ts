// The stream of a turn that is over, made again from what was kept: the same events that came while it ran.
import type { PlacedEngine } from "../engine/placed.ts";
import { createSpelling } from "../engine/spelling.ts";
import { GriffinError, isPassing } from "../errors.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import { eventLines, mostEventsAPiece } from "./event-lines.ts";
import { orDamaged } from "./parts.ts";
import type { TurnEvent } from "./protocol.ts";
import { identityOf } from "./recall.ts";
import type { Store, TurnRow } from "./store.ts";
import { tokenEvent } from "./token-event.ts";
import { startedEvent, viewOf } from "./view.ts";

/** The events of a finished turn, spelt again from its tokens, as NDJSON. */
export async function replay(store: Store, row: TurnRow, env: Env): Promise<ReadableStream<Uint8Array>> {
  const engine = row.endPosition === null ? null : await engineOf(row.options.model, env).catch(orNoEngine);
  const events = eventsAgain(store, row, engine);
  return eventLines({
    next() {
      const piece: TurnEvent[] = [];
      while (piece.length < mostEventsAPiece) {
        const event = events.next();
        if (event.done) break;
        piece.push(event.value);
      }
      return piece;
    },
  });
}

/** Without the engine there is the text at least; but what passes is worth another request. */
function orNoEngine(error: unknown): null {
  if (error instanceof GriffinError && isPassing(error.code)) throw error;
  return null;
}

function* eventsAgain(store: Store, row: TurnRow, engine: PlacedEngine | null): Generator<TurnEvent> {
  yield startedEvent(row);
  const tokens = engine === null ? null : orDamaged(() => store.replyTokens(row.turn));
  // Other tokens than today's, and damaged ones, are not spelt again; the text is there.
  if (engine === null || tokens === null || identityOf(engine).checkpoint !== row.checkpoint) {
    return yield { type: "ended", rest: row.text, view: viewOf(row) };
  }
  const spelling = createSpelling(engine.tokenizer, row.options.stop, engine.manifest.stop_token_ids);
  const logProbabilities = store.logProbabilities(row.turn);
  for (const [index, token] of tokens.entries()) {
    const { text } = spelling.push(token);
    yield tokenEvent(index, { token, text }, logProbabilities?.[index], engine.tokenizer);
  }
  yield { type: "ended", rest: spelling.end(), view: viewOf(row) };
}
