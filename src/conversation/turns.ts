// Turns: the rows of the tree, and their tokens.
import type { RanAt } from "../engine/placement.ts";
import { GriffinError, type ErrorCode } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { type Database, sizeBytes, type Written } from "./database.ts";
import { firstItem } from "./items.ts";
import { damaged, keepValue, keptValue, packTokens, readParts, unpackTokens, writeParts } from "./parts.ts";
import type { StateOrigin, TurnKind, TurnOptions, TurnStatus, TurnStorage, TurnUsage, TurnView } from "./protocol.ts";

/** A turn without what was said: all that a path needs. It can be read where the texts are damaged. */
export interface TurnStep {
  turn: number;
  parent: number | null;
  branch: number | null;
  kind: TurnKind;
  status: TurnStatus;
  createdMs: number;
  finishedMs: number | null;
  /** Position of the state after this turn, and whose state it is: SHA-256 of the weights. */
  endPosition: number | null;
  checkpoint: string | null;
  /** true: its response was deleted. Only paths of later turns still show it, without messages and text. */
  removed: boolean;
}

/** A turn as it is kept. */
export interface TurnRow extends TurnStep {
  messages: ChatMessage[];
  /** Items of it whose texts were deleted; see items.ts. */
  removedItems: number[];
  options: TurnOptions;
  metadata: Record<string, string>;
  repeatKey: string | null;
  endsWithClient: boolean;
  /** How often its generation was begun. */
  attempts: number;
  text: string;
  finishReason: TurnView["finishReason"];
  state: StateOrigin | null;
  /** Where it ran; null where nothing is known of that. */
  placement: RanAt | null;
  usage: TurnUsage | null;
  storage: TurnStorage | null;
  error: TurnError | null;
}

export interface TurnError {
  code: ErrorCode;
  message: string;
}

export interface NewTurn {
  parent: number | null;
  branch: number | null;
  /** A reply unless told. */
  kind?: TurnKind;
  messages: ChatMessage[];
  options: TurnOptions;
  metadata: Record<string, string>;
  repeatKey: string | null;
  endsWithClient: boolean;
  nowMs: number;
}

/** What a stream says of one token besides its text. */
export interface TokenLogProbabilities {
  logProbability: number;
  top: { token: number; logProbability: number }[];
}

/** What a turn came to. */
export interface TurnOutcome {
  status: "completed" | "incomplete" | "cancelled";
  text: string;
  finishReason: TurnView["finishReason"];
  state: StateOrigin;
  placement: RanAt | null;
  usage: TurnUsage;
  /** Tokens that were read, and generated. */
  promptTokens: readonly number[];
  replyTokens: readonly number[];
  /** Of each reply token, where they were asked for. */
  logProbabilities: readonly TokenLogProbabilities[] | null;
  nowMs: number;
}

type Reply = Pick<TurnRow, "text" | "finishReason" | "state" | "placement" | "usage" | "error">;

/** Options that turns of earlier code did not keep. */
const optionsOfOld = {
  background: false,
  store: true,
  truncation: "disabled",
  format: null,
  tools: null,
  sharedBy: null,
  chargedTo: null,
  notify: null,
  isBatch: false,
} as const;

const noReply: Reply = { text: "", finishReason: null, state: null, placement: null, usage: null, error: null };

interface StepColumns extends Record<string, string | number | null | ArrayBuffer> {
  turn: number;
  parent: number | null;
  branch: number | null;
  kind: TurnKind;
  status: TurnStatus;
  created_ms: number;
  finished_ms: number | null;
  end_position: number | null;
  checkpoint: string | null;
  removed: number;
}

interface Columns extends StepColumns {
  repeat_key: string | null;
  ends_with_client: number;
  attempts: number;
  state_bytes: number | null;
  rows_written: number | null;
  bytes_written: number | null;
  options: string;
  metadata: string;
  removed_items: string;
  messages: ArrayBuffer | null;
  reply: ArrayBuffer | null;
}

/** Ending a turn writes its row. That it leaves the index of running ones is not billed: nothing is written there. */
const finishedTurnRows = 1;

const stepColumns = `turn, parent, branch, kind, status, created_ms, finished_ms, end_position, checkpoint, removed`;
const columns = `${stepColumns}, repeat_key, ends_with_client, attempts, state_bytes, rows_written, bytes_written,
  options, metadata, removed_items, messages, reply`;

const pathQuery = `WITH RECURSIVE path (turn, parent) AS (
    SELECT turn, parent FROM turns WHERE turn = ?
    UNION ALL SELECT turns.turn, turns.parent FROM path JOIN turns ON turns.turn = path.parent
  )`;

export function addTurn(db: Database, added: NewTurn): number {
  const { parent, branch, kind = "reply", repeatKey, endsWithClient, nowMs, ...given } = added;
  const [row] = db.read<{ turn: number }>(
    `SELECT 1 + max(value, coalesce((SELECT max(turn) FROM turns), 0)) AS turn FROM meta WHERE key = 'last_turn'`,
  );
  const turn = row?.turn ?? 1;
  db.write(
    `turn ${turn}`,
    `INSERT INTO turns
       (turn, parent, branch, kind, status, created_ms, repeat_key, ends_with_client, options, unsettled, metadata, messages)
     VALUES (?, ?, ?, ?, 'in_progress', ?, ?, ?, ?, ?, ?, ?)`,
    turn,
    parent,
    branch,
    kind,
    nowMs,
    repeatKey,
    Number(endsWithClient),
    JSON.stringify(given.options),
    Number(kind === "reply" && leavesWork(given.options)),
    JSON.stringify(given.metadata),
    keepValue(db, turn, "messages", toJson(given.messages)),
  );
  return turn;
}

/** Whether there is something to do when a turn has ended: to charge it, to tell of it, or to forget it. */
const leavesWork = ({ chargedTo, notify, store }: TurnOptions) => chargedTo !== null || notify !== null || !store;

/** null where there is none, or its response was removed. */
export function readTurn(db: Database, turn: number): TurnRow | null {
  return readTurns(db, `SELECT ${columns} FROM turns WHERE turn = ? AND NOT removed`, turn)[0] ?? null;
}

/** A turn, or what is left of a removed one, as a step of the paths through it. */
export function readStep(db: Database, turn: number): TurnStep | null {
  const [row] = db.read<StepColumns>(`SELECT ${stepColumns} FROM turns WHERE turn = ?`, turn);
  return row === undefined ? null : toStep(row);
}

/** The turn itself, or the nearest one before it that was not removed. */
export function nearestKept(db: Database, turn: number | null): number | null {
  const query = `
    WITH RECURSIVE path (turn, parent, removed) AS (
      SELECT turn, parent, removed FROM turns WHERE turn = ?
      UNION ALL SELECT turns.turn, turns.parent, turns.removed FROM path JOIN turns ON turns.turn = path.parent
      WHERE path.removed
    )
    SELECT turn FROM path WHERE NOT removed`;
  return db.read<{ turn: number }>(query, turn)[0]?.turn ?? null;
}

export function readChildren(db: Database, parent: number | null): TurnStep[] {
  const query = `SELECT ${stepColumns} FROM turns WHERE parent IS ? AND NOT removed ORDER BY turn`;
  return db.read<StepColumns>(query, parent).map(toStep);
}

/** From the beginning to `turn`. Removed ones are among them, without messages and text: their tokens still count. */
export function readPath(db: Database, turn: number): TurnRow[] {
  const query = `${pathQuery} SELECT ${columns} FROM turns WHERE turn IN (SELECT turn FROM path) ORDER BY turn`;
  return readTurns(db, query, turn);
}

/** Numbers of the turns on the path in which something was said that was not removed. */
export function readKeptPath(db: Database, turn: number): number[] {
  const query = `${pathQuery} SELECT turn FROM turns WHERE turn IN (SELECT turn FROM path) AND NOT removed
    AND kind <> 'state' ORDER BY turn`;
  return db.read<{ turn: number }>(query, turn).map((row) => row.turn);
}

/** A turn, and all that go on from it. */
export function readSubtree(db: Database, turn: number): TurnStep[] {
  const query = `
    WITH RECURSIVE tree (turn) AS (
      SELECT turn FROM turns WHERE turn = ?
      UNION SELECT turns.turn FROM tree JOIN turns ON turns.parent = tree.turn
    )
    SELECT ${stepColumns} FROM turns WHERE turn IN (SELECT turn FROM tree) ORDER BY turn`;
  return db.read<StepColumns>(query, turn).map(toStep);
}

export function findRepeatKey(db: Database, key: string): number | null {
  const query = "SELECT max(turn) AS turn FROM turns WHERE repeat_key = ?";
  return db.read<{ turn: number | null }>(query, key)[0]?.turn ?? null;
}

export function findRunning(db: Database, branch: number): number | null {
  const query = "SELECT turn FROM turns WHERE status = 'in_progress' AND branch = ?";
  return db.read<{ turn: number }>(query, branch)[0]?.turn ?? null;
}

export function findUnfinished(db: Database): number[] {
  const query = "SELECT turn FROM turns WHERE status = 'in_progress' ORDER BY turn";
  return db.read<{ turn: number }>(query).map(({ turn }) => turn);
}

/** Turns that ended, and of which something may be left to do: to charge them, to tell of them, or to forget them. */
export function findUnsettled(db: Database): number[] {
  const query = "SELECT turn FROM turns WHERE unsettled AND status <> 'in_progress' ORDER BY turn";
  return db.read<{ turn: number }>(query).map(({ turn }) => turn);
}

export function setSettled(db: Database, turn: number): void {
  const query = "UPDATE turns SET unsettled = 0 WHERE turn = ? AND unsettled AND status <> 'in_progress'";
  db.write(`turn ${turn}`, query, turn);
}

export function findNewest(db: Database): number {
  return db.read<{ turn: number | null }>("SELECT max(turn) AS turn FROM turns")[0]?.turn ?? 0;
}

/**
 * Names of the objects that may keep the states behind what turns began with. Where options are damaged nobody knows the
 * name any more; what was kept under it goes a day after its last use.
 */
export function findShared(db: Database): string[] {
  const query = `
    SELECT DISTINCT CASE WHEN json_valid(options) THEN json_extract(options, '$.sharedBy') END AS name FROM turns`;
  return db.read<{ name: string | null }>(query).flatMap(({ name }) => name ?? []);
}

/** true where a snapshot was once kept. */
export function hadState(db: Database, turn: number): boolean {
  return db.read("SELECT 1 FROM turns WHERE turn = ? AND end_position IS NOT NULL", turn).length > 0;
}

/** When the oldest turn that nothing goes on from was begun; null where there is none. `but`: SQL that leaves some out. */
export function oldestLeafMs(db: Database, but = ""): number | null {
  const query = `SELECT min(created_ms) AS ms FROM turns AS leaf
    WHERE NOT EXISTS (SELECT 1 FROM turns WHERE turns.parent = leaf.turn) ${but}`;
  return db.read<{ ms: number | null }>(query)[0]?.ms ?? null;
}

export function countTurns(db: Database): number {
  return db.read<{ count: number }>("SELECT count(*) AS count FROM turns")[0]?.count ?? 0;
}

/** Turns that are imported states, and were not removed. */
export function countImports(db: Database): number {
  const query = "SELECT count(*) AS count FROM turns WHERE kind = 'state' AND NOT removed";
  return db.read<{ count: number }>(query)[0]?.count ?? 0;
}

/** What a turn that is an imported state came to: its tokens count as read, elsewhere. */
export function importedOutcome(tokens: readonly number[], nowMs: number): TurnOutcome {
  const usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, computedTokens: 0 };
  const nothing = { text: "", finishReason: null, replyTokens: [], logProbabilities: null };
  return { ...nothing, status: "completed", state: "restored", placement: null, usage, promptTokens: tokens, nowMs };
}

export function addAttempt(db: Database, turn: number): number {
  const query = "UPDATE turns SET attempts = attempts + 1 WHERE turn = ? AND status = 'in_progress' RETURNING attempts";
  const [row] = db.write<{ attempts: number }>(`turn ${turn}`, query, turn);
  if (row === undefined) throw notRunning(turn);
  return row.attempts;
}

/** Takes an attempt back: it was not this turn that ended it. */
export function removeAttempt(db: Database, turn: number): void {
  db.write(`turn ${turn}`, "UPDATE turns SET attempts = attempts - 1 WHERE turn = ? AND attempts > 0", turn);
}

/** Where a running turn hangs. Throws `not_found` where it does not run any more. */
export function placeOfRunning(db: Database, turn: number): { parent: number | null; branch: number | null } {
  const query = "SELECT parent, branch FROM turns WHERE turn = ? AND status = 'in_progress'";
  const [row] = db.read<{ parent: number | null; branch: number | null }>(query, turn);
  if (row === undefined) throw notRunning(turn);
  return row;
}

export function setCreated(db: Database, turn: number, nowMs: number): void {
  db.write(`turn ${turn}`, "UPDATE turns SET created_ms = ? WHERE turn = ?", nowMs, turn);
}

/** Ends a turn that only brought items: nothing replied to them. */
export function finishItems(db: Database, turn: number, nowMs: number): void {
  const query = "UPDATE turns SET status = 'completed', finished_ms = ?, reply = ? WHERE turn = ?";
  db.write(`turn ${turn}`, query, nowMs, toJson(noReply), turn);
}

/** Ends a turn well. What the row cost is part of it: `before` is what had been written when the commit began. */
export function finishTurn(
  db: Database,
  turn: number,
  outcome: TurnOutcome,
  state: { endPosition: number | null; checkpoint: string | null; stateBytes: number },
  before: Written,
): TurnStorage {
  const { status, nowMs, text, finishReason, placement, usage } = outcome;
  const reply: Reply = { text, finishReason, state: outcome.state, placement, usage, error: null };
  const values = [
    status,
    nowMs,
    state.endPosition,
    state.checkpoint,
    state.stateBytes,
    keepValue(db, turn, "reply", toJson(reply)),
    keepValue(db, turn, "prompt_tokens", packTokens(outcome.promptTokens)),
    keepValue(db, turn, "reply_tokens", packTokens(outcome.replyTokens)),
  ];
  if (outcome.logProbabilities !== null) {
    writeParts(db, turn, "log_probabilities", toJson(outcome.logProbabilities));
  }
  const rowsWritten = db.written.rows - before.rows + finishedTurnRows;
  const bytesWritten = db.written.bytes - before.bytes + sizeBytes([...values, rowsWritten, 0, turn]);
  db.write(
    `turn ${turn}`,
    `UPDATE turns SET status = ?, finished_ms = ?, end_position = ?, checkpoint = ?, state_bytes = ?, reply = ?,
       prompt_tokens = ?, reply_tokens = ?, rows_written = ?, bytes_written = ? WHERE turn = ?`,
    ...values,
    rowsWritten,
    bytesWritten,
    turn,
  );
  return { stateBytes: state.stateBytes, rowsWritten, bytesWritten };
}

export function failTurn(db: Database, turn: number, error: TurnError, nowMs: number, usage: TurnUsage | null): void {
  placeOfRunning(db, turn);
  const isCancelled = error.code === "cancelled";
  const reply: Reply = { ...noReply, usage, ...(isCancelled ? { finishReason: "cancelled" } : { error }) };
  db.write(
    `turn ${turn}`,
    "UPDATE turns SET status = ?, finished_ms = ?, reply = ? WHERE turn = ?",
    isCancelled ? "cancelled" : "failed",
    nowMs,
    keepValue(db, turn, "reply", toJson(reply)),
    turn,
  );
}

/** Tokens that a finished turn read or generated; none before it ended. Throws `data_damaged`. */
export function readTokens(db: Database, turn: number, kind: "prompt_tokens" | "reply_tokens"): number[] {
  const [row] = db.read<{ tokens: ArrayBuffer | null; finished: number }>(
    `SELECT ${kind} AS tokens, finished_ms IS NOT NULL AND state_bytes IS NOT NULL AS finished FROM turns WHERE turn = ?`,
    turn,
  );
  if (!row?.finished) return [];
  const tokens = unpackTokens(keptValue(db, turn, kind, row.tokens));
  if (tokens === null) throw damaged(turn, kind);
  return tokens;
}

/** What came of a turn that ended. Throws `data_damaged`. */
export function readReply(db: Database, turn: number): Reply {
  const [row] = db.read<{ reply: ArrayBuffer | null }>("SELECT reply FROM turns WHERE turn = ?", turn);
  return fromJson<Reply>(db, turn, "reply", row?.reply ?? null);
}

/** What was kept of a turn's tokens; null where nothing was asked for. */
export function readLogProbabilities(db: Database, turn: number): TokenLogProbabilities[] | null {
  const bytes = readParts(db, turn, "log_probabilities");
  return bytes.byteLength === 0 ? null : (JSON.parse(new TextDecoder().decode(bytes)) as TokenLogProbabilities[]);
}

/** Leaves of a turn what later turns are computed again from: its tokens. */
export function emptyTurn(db: Database, turn: number): void {
  db.write(
    `turn ${turn}`,
    "DELETE FROM parts WHERE turn = ? AND kind IN ('messages', 'reply', 'log_probabilities')",
    turn,
  );
  db.write(
    `turn ${turn}`,
    "UPDATE turns SET removed = 1, repeat_key = NULL, metadata = '{}', messages = ?, reply = ? WHERE turn = ?",
    toJson([]),
    toJson(noReply),
    turn,
  );
}

/** Leaves nothing of the tokens that turns read: they are computed from texts, as if another model had read them. */
export function forgetReading(db: Database, turns: readonly number[]): void {
  for (const turn of turns) {
    db.write(`turn ${turn}`, "DELETE FROM parts WHERE turn = ? AND kind = 'prompt_tokens'", turn);
    const query = "UPDATE turns SET checkpoint = NULL, prompt_tokens = ? WHERE turn = ? AND finished_ms IS NOT NULL";
    db.write(`turn ${turn}`, query, packTokens([]), turn);
  }
}

/** Deletes the text of an item, and returns the turn as it is then. */
export function emptyItem(db: Database, row: TurnRow, item: number): TurnRow {
  const { turn, finishReason, state, placement, usage, error } = row;
  const removedItems = [...row.removedItems, item];
  const emptied = { ...row, removedItems };
  if (item === 0) {
    const kinds = "('reply', 'reply_tokens', 'log_probabilities')";
    db.write(`turn ${turn}`, `DELETE FROM parts WHERE turn = ? AND kind IN ${kinds}`, turn);
    const reply = toJson({ text: "", finishReason, state, placement, usage, error });
    const query = "UPDATE turns SET reply = ?, reply_tokens = ? WHERE turn = ?";
    db.write(`turn ${turn}`, query, reply, packTokens([]), turn);
    emptied.text = "";
  } else {
    const place = item - 1 + firstItem(row.messages);
    emptied.messages = row.messages.map((message, i) => (i === place ? { ...message, content: "" } : message));
    db.write(`turn ${turn}`, "DELETE FROM parts WHERE turn = ? AND kind = 'messages'", turn);
    const kept = keepValue(db, turn, "messages", toJson(emptied.messages));
    db.write(`turn ${turn}`, "UPDATE turns SET messages = ? WHERE turn = ?", kept, turn);
  }
  const query = "UPDATE turns SET removed_items = ? WHERE turn = ?";
  db.write(`turn ${turn}`, query, JSON.stringify(removedItems), turn);
  return emptied;
}

function readTurns(db: Database, query: string, value: number | null): TurnRow[] {
  return db.read<Columns>(query, value).map((row) => toTurn(db, row));
}

function toStep(row: StepColumns): TurnStep {
  const { turn, parent, branch, kind, status, created_ms, finished_ms, end_position, checkpoint, removed } = row;
  const place = { turn, parent, branch, kind, status, createdMs: created_ms, finishedMs: finished_ms };
  return { ...place, endPosition: end_position, checkpoint, removed: removed === 1 };
}

function toTurn(db: Database, row: Columns): TurnRow {
  const { turn, state_bytes: stateBytes, rows_written: rowsWritten, bytes_written: bytesWritten } = row;
  const reply = row.finished_ms === null ? noReply : fromJson<Reply>(db, turn, "reply", row.reply);
  const isCounted = stateBytes !== null && rowsWritten !== null && bytesWritten !== null;
  return {
    ...toStep(row),
    messages: fromJson(db, turn, "messages", row.messages),
    removedItems: parsed(turn, "removed_items", row.removed_items),
    options: { ...optionsOfOld, ...parsed<Omit<TurnOptions, keyof typeof optionsOfOld>>(turn, "options", row.options) },
    metadata: parsed(turn, "metadata", row.metadata),
    repeatKey: row.repeat_key,
    endsWithClient: row.ends_with_client === 1,
    attempts: row.attempts,
    ...noReply,
    // Of turns of earlier code there is no more than this known.
    ...reply,
    storage: isCounted ? { stateBytes, rowsWritten, bytesWritten } : null,
  };
}

function toJson(value: ChatMessage[] | Reply | readonly TokenLogProbabilities[]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function fromJson<T>(db: Database, turn: number, kind: "messages" | "reply", inline: ArrayBuffer | null): T {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(keptValue(db, turn, kind, inline)));
  } catch (cause) {
    throw damaged(turn, kind, cause);
  }
}

function parsed<T>(turn: number, what: "options" | "metadata" | "removed_items", text: string): T {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw damaged(turn, what, cause);
  }
}

const notRunning = (turn: number) =>
  new GriffinError("not_found", `Turn ${turn} is not in progress: it has ended, or it was removed.`);
