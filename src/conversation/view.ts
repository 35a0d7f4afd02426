// Turns as callers see them.
import type { TurnEvent, TurnView } from "./protocol.ts";
import { GriffinError } from "../errors.ts";
import type { Store, TurnRow } from "./store.ts";

/** A turn that is stored and was not deleted; else `not_found`. */
export function turnRow(store: Store, turn: number): TurnRow {
  const row = store.turn(turn);
  if (row === null || row.removed) throw new GriffinError("not_found", `There is no response ${turn} here.`);
  return row;
}

/** A stored turn; `text` is what a turn in progress has so far. */
export function viewOf(row: TurnRow, text = row.text): TurnView {
  const { turn, parent, branch, status, createdMs, finishedMs, messages, options, metadata } = row;
  const { finishReason, state, usage, storage, error } = row;
  const request = { turn, parent, branch, createdMs, messages, options, metadata };
  return { ...request, status, finishedMs, text, finishReason, state, usage, storage, error };
}

/** The first event of a turn's stream: the turn as it began, whenever it is asked for. */
export function startedEvent(row: TurnRow): TurnEvent {
  const begun = { status: "in_progress", finishedMs: null, text: "", finishReason: null } as const;
  const view = { ...viewOf(row), ...begun, state: null, usage: null, storage: null, error: null };
  return { type: "started", view };
}
