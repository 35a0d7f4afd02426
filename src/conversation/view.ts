// Turns as callers see them.
import type { ConversationView, ListedTurn, TurnEvent, TurnView } from "./protocol.ts";
import { GriffinError } from "../errors.ts";
import { isDamage } from "./parts.ts";
import { mayCall } from "./turn-format.ts";
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

/** The last finished turn of a branch; null where there is none yet. Throws `not_found`. */
export function branchHead(store: Store, branch: number): number | null {
  const head = store.branchHead(branch);
  if (head === undefined) throw noSuchBranch(branch);
  return head;
}

/** A branch as its callers see it; else `not_found`. */
export function branchView(store: Store, branch: number): ConversationView {
  const view = store.branch(branch);
  if (view === null) throw noSuchBranch(branch);
  return view;
}

const noSuchBranch = (branch: number) => new GriffinError("not_found", `There is no branch ${branch} here.`);
const noSuchTurn = (turn: number) => new GriffinError("not_found", `There is no response ${turn} here.`);

/** A stored turn; `text` is what a turn in progress has so far. */
export function viewOf(row: TurnRow, text = row.text): TurnView {
  const { turn, parent, branch, kind, status, createdMs, finishedMs, messages, removedItems, options, metadata } = row;
  const { finishReason, state, placement, usage, storage, error } = row;
  const request = { turn, parent, branch, kind, createdMs, messages, removedItems, options, metadata };
  const reply = { text, mayCall: mayCall(options), finishReason };
  return { ...request, ...reply, status, finishedMs, state, placement, usage, storage, error };
}

/** A turn as lists show it: they go on past one whose texts are damaged. */
export function listedTurn(turn: number, view: (turn: number) => TurnView, store: Store): ListedTurn {
  try {
    return view(turn);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return damagedTurn(turnStep(store, turn), error);
  }
}

/** What is known of a turn of which what was said cannot be read, and why there is no more. */
function damagedTurn(step: TurnStep, { code, message }: GriffinError): ListedTurn {
  const { turn, parent, branch, kind, status, createdMs, finishedMs } = step;
  const nothing = {
    messages: [],
    removedItems: [],
    text: "",
    mayCall: false,
    finishReason: null,
    state: null,
    placement: null,
    usage: null,
    storage: null,
  };
  return { turn, parent, branch, kind, status, createdMs, finishedMs, ...nothing, error: { code, message } };
}

/** The first event of a turn's stream: the turn as it began, whenever it is asked for. */
export function startedEvent(row: TurnRow): TurnEvent {
  const begun = { status: "in_progress", finishedMs: null, text: "", finishReason: null } as const;
  const view = { ...viewOf(row), ...begun, state: null, placement: null, usage: null, storage: null, error: null };
  return { type: "started", view };
}
