// Turns as callers see them.
import type { ListedTurn, TurnEvent, TurnView } from "./protocol.ts";
import { GriffinError } from "../errors.ts";
import type { Store, TurnRow, TurnStep } from "./store.ts";

/** A turn that is stored and was not deleted; else `not_found`. */
export function turnRow(store: Store, turn: number): TurnRow {
  const row = store.turn(turn);
  if (row === null) throw noSuchTurn(turn);
  return row;
}

/** The same without its texts, which may be damaged. */
export function turnStep(store: Store, turn: number): TurnStep {
  const step = store.step(turn);
  if (step === null || step.removed) throw noSuchTurn(turn);
  return step;
}

const noSuchTurn = (turn: number) => new GriffinError("not_found", `There is no response ${turn} here.`);

/** A stored turn; `text` is what a turn in progress has so far. */
export function viewOf(row: TurnRow, text = row.text): TurnView {
  const { turn, parent, branch, status, createdMs, finishedMs, messages, options, metadata } = row;
  const { finishReason, state, usage, storage, error } = row;
  const request = { turn, parent, branch, createdMs, messages, options, metadata };
  return { ...request, status, finishedMs, text, finishReason, state, usage, storage, error };
}

/** A turn of which what was said cannot be read: what is known of it, and why there is no more. */
export function damagedTurn(step: TurnStep, { code, message }: GriffinError): ListedTurn {
  const { turn, parent, branch, status, createdMs, finishedMs } = step;
  const nothing = { messages: [], text: "", finishReason: null, state: null, usage: null, storage: null };
  return { turn, parent, branch, status, createdMs, finishedMs, ...nothing, error: { code, message } };
}

/** The first event of a turn's stream: the turn as it began, whenever it is asked for. */
export function startedEvent(row: TurnRow): TurnEvent {
  const begun = { status: "in_progress", finishedMs: null, text: "", finishReason: null } as const;
  const view = { ...viewOf(row), ...begun, state: null, usage: null, storage: null, error: null };
  return { type: "started", view };
}
