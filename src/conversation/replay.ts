// The stream of a turn that is over, made again from what was kept: the same events that came while it ran.
import { createSpelling } from "../engine/spelling.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import type { TurnEvent } from "./protocol.ts";
import { identityOf } from "./recall.ts";
import type { Store, TurnRow } from "./store.ts";
import { tokenEvent } from "./token-event.ts";
import { startedEvent, viewOf } from "./view.ts";

/** The events of a finished turn, spelt again from its tokens. */
export async function replay(store: Store, row: TurnRow, env: Env): Promise<TurnEvent[]> {
  const { checkpoint, options, turn } = row;
  const engine = row.endPosition === null ? null : await engineOf(options.model, env).catch(() => null);
  const tokens = orNull(() => store.replyTokens(turn));
  // Other tokens than today's, and damaged ones, are not spelt again; the text is there.
  if (engine === null || tokens === null || identityOf(engine).checkpoint !== checkpoint) {
    return [startedEvent(row), { type: "ended", rest: row.text, view: viewOf(row) }];
  }
  const spelling = createSpelling(engine.tokenizer, options.stop, engine.manifest.stop_token_ids);
  const logProbabilities = store.logProbabilities(turn);
  const events = tokens.map((token, index) => {
    const { text } = spelling.push(token);
    return tokenEvent(index, { token, text }, logProbabilities?.[index], engine.tokenizer);
  });
  return [startedEvent(row), ...events, { type: "ended", rest: spelling.end(), view: viewOf(row) }];
}

function orNull<T>(ask: () => T): T | null {
  try {
    return ask();
  } catch {
    return null;
  }
}
