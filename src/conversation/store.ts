// Store: everything a Conversation object keeps, in its SQLite: the tree of turns, branches as heads in it, tokens, the
// log of running turns, snapshots. It decides nothing about turns; it makes each change whole or not at all.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import type { ChatMessage } from "../model/chat-template.ts";
import type { State } from "../model/state.ts";
import * as branches from "./branches.ts";
import { Database } from "./database.ts";
import { keptItems } from "./items.ts";
import * as log from "./log.ts";
import * as outbox from "./outbox.ts";
import type { ConversationChange, ConversationView, TurnOptions, TurnStorage, TurnUsage } from "./protocol.ts";
import * as prefixes from "./prefixes.ts";
import * as removal from "./removal.ts";
import { schemaVersion, upgradeSchema } from "./schema.ts";
import * as snapshots from "./snapshots.ts";
import * as turns from "./turns.ts";

export type { NewBranch } from "./branches.ts";
export type { ModelIdentity } from "./snapshots.ts";
export type { NewTurn, TokenLogProbabilities, TurnError, TurnOutcome, TurnRow, TurnStep } from "./turns.ts";

export interface NewSnapshot {
  state: State | LostState;
  identity: snapshots.ModelIdentity;
  /** The turn from whose loaded snapshot this state was computed: they share full pages. null: from nothing. */
  base: number | null;
}

/** A state that nobody has any more: whoever goes on from its turn reads again what led to it. */
export interface LostState {
  position: number;
  data: null;
}

const hasState = (snapshot: NewSnapshot): snapshot is NewSnapshot & { state: State } => snapshot.state.data !== null;

/** A state that comes from elsewhere. */
export interface NewImport {
  state: State;
  identity: snapshots.ModelIdentity;
  /** The last tokens of its past. */
  tokens: readonly number[];
  options: TurnOptions;
  nowMs: number;
}

/** `dropped` and `corrupt` ones can be computed again from the tokens of the path. */
export type LoadedSnapshot =
  | { state: State; missing?: undefined }
  | { state?: undefined; missing: "dropped" | "other_model" | "corrupt" | "never" };

/** true where something was stored before. Asking writes nothing; `openStore` writes a schema. */
export function hasStore(storage: DurableObjectStorage): boolean {
  return schemaVersion(storage) > 0;
}

/** Opens the store, bringing its schema up to date. Throws `unsupported` where newer code wrote it. */
export function openStore(storage: DurableObjectStorage): Store {
  upgradeSchema(storage);
  return new Store(new Database(storage));
}

/** What an object keeps. Every method that writes is one transaction. */
export class Store {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** The first branch of an object is 0. */
  createBranch(branch: branches.NewBranch): ConversationView {
    return branches.insertBranch(this.#db, branch);
  }

  /** A branch that ends with messages that no turn of its own has: they are put behind its head. */
  createBranchWith(branch: branches.NewBranch, request: Omit<Parameters<Store["addItems"]>[1], "nowMs">): number {
    return this.#db.transaction(() => {
      const { branch: number } = branches.insertBranch(this.#db, branch);
      this.addItems(number, { ...request, nowMs: branch.nowMs });
      return number;
    });
  }

  /** The branch that a request of this name made since a time. */
  branchOfRepeatKey(key: string, sinceMs: number): number | null {
    return branches.findBranchOfRepeatKey(this.#db, key, sinceMs);
  }

  branch(branch: number): ConversationView | null {
    return branches.readBranch(this.#db, branch);
  }

  /** The last finished turn of a branch; null where there is none yet, undefined where there is no such branch. */
  branchHead(branch: number): number | null | undefined {
    return branches.readHead(this.#db, branch);
  }

  /** All branches, without their metadata. */
  branches(): ConversationView[] {
    return branches.readBranches(this.#db);
  }

  /** Throws `not_found`. */
  updateBranch(branch: number, change: ConversationChange, nowMs: number): void {
    branches.changeBranch(this.#db, branch, change, nowMs);
  }

  /** Takes a branch for one that was used at this time. */
  touchBranch(branch: number, nowMs: number): void {
    branches.setBranchActive(this.#db, branch, nowMs);
  }

  branchCount(): number {
    return branches.countBranches(this.#db);
  }

  /**
   * Deletes a branch, the turns on its path or begun on it, and all that go on from them; what another branch's path
   * needs stays. Running turns among them are gone as well: their commit throws `not_found`.
   */
  removeBranch(branch: number): void {
    this.#db.transaction(() => {
      const alone = removal.findTurnsOfBranchAlone(this.#db, branch);
      branches.deleteBranch(this.#db, branch);
      this.#delete(alone);
    });
  }

  /** The turns that `removeBranch` would delete. */
  turnsOfBranchAlone(branch: number): number[] {
    return removal.findTurnsOfBranchAlone(this.#db, branch);
  }

  /** A new turn, in progress. Its number is larger than every number before. */
  insertTurn(turn: turns.NewTurn): number {
    return this.#db.transaction(() => turns.addTurn(this.#db, turn));
  }

  /** Puts messages behind the head of a branch, as a turn that replied nothing and is the head from now on. */
  addItems(branch: number, request: Pick<turns.NewTurn, "messages" | "options" | "repeatKey" | "nowMs">): number {
    return this.#db.transaction(() => {
      const place = { parent: branches.readHead(this.#db, branch) ?? null, branch, kind: "items" as const };
      const turn = turns.addTurn(this.#db, { ...request, ...place, metadata: {}, endsWithClient: false });
      turns.finishItems(this.#db, turn, request.nowMs);
      branches.setBranchHead(this.#db, branch, turn, request.nowMs);
      return turn;
    });
  }

  /** A turn, and all that go on from it, removed ones too. */
  turnsFrom(turn: number): turns.TurnStep[] {
    return turns.readSubtree(this.#db, turn);
  }

  /**
   * Deletes the text of an item for good. Every state that had read it goes, and so do the tokens that it may be in:
   * what goes on from there is computed again from the texts that are left. Deletes the turn with its last item.
   */
  removeItem(turn: number, item: number): void {
    this.#db.transaction(() => {
      const row = turns.readTurn(this.#db, turn);
      if (row === null) return;
      const readers = turns.readSubtree(this.#db, turn).map((step) => step.turn);
      snapshots.deleteSnapshots(this.#db, readers);
      turns.forgetReading(this.#db, readers);
      const emptied = turns.emptyItem(this.#db, row, item);
      if (keptItems(emptied) === 0) this.removeTurn(turn);
    });
  }

  /** Takes a turn for one that was begun now. */
  touch(turn: number, nowMs: number): void {
    turns.setCreated(this.#db, turn, nowMs);
  }

  /** Keeps a state as a turn that nothing comes before, and makes it the head of a branch, if one is named. */
  importState(branch: number | null, { state, identity, tokens, options, nowMs }: NewImport): number {
    return this.#db.transaction(() => {
      const request = { parent: null, branch, messages: [], options, metadata: {}, repeatKey: null };
      const turn = turns.addTurn(this.#db, { ...request, kind: "state", endsWithClient: false, nowMs });
      this.commit(turn, turns.importedOutcome(tokens, nowMs), { state, identity, base: null });
      return turn;
    });
  }

  /** null where there is none, or its response was removed. */
  turn(turn: number): turns.TurnRow | null {
    return turns.readTurn(this.#db, turn);
  }

  /** A turn without its texts, a removed one too: a step of the paths through it. */
  step(turn: number): turns.TurnStep | null {
    return turns.readStep(this.#db, turn);
  }

  /** The turns that go on from `parent`, removed ones left out, in the order they began; null: those that began anew. */
  children(parent: number | null): turns.TurnStep[] {
    return turns.readChildren(this.#db, parent);
  }

  turnOfRepeatKey(key: string): number | null {
    return turns.findRepeatKey(this.#db, key);
  }

  runningTurn(branch: number): number | null {
    return turns.findRunning(this.#db, branch);
  }

  /** All turns in progress: after a restart, those to recover. */
  unfinishedTurns(): number[] {
    return turns.findUnfinished(this.#db);
  }

  /** Turns that ended, and of which not everybody who is to know may know. */
  unsettledTurns(): number[] {
    return turns.findUnsettled(this.#db);
  }

  /** Everybody who is to know of a turn's end knows. */
  settled(turn: number): void {
    turns.setSettled(this.#db, turn);
  }

  /** Names of the objects that may keep the states behind what turns began with. */
  sharedNames(): string[] {
    return turns.findShared(this.#db);
  }

  /** The number of the last turn that was begun and not deleted; 0 where there is none. */
  newestTurn(): number {
    return turns.findNewest(this.#db);
  }

  /** From the beginning to `turn`, both included. Removed ones are there, without messages and text. */
  path(turn: number): turns.TurnRow[] {
    return turns.readPath(this.#db, turn);
  }

  /** Numbers of the turns from the beginning to `turn` in which something was said; removed ones are left out. */
  keptPath(turn: number): number[] {
    return turns.readKeptPath(this.#db, turn);
  }

  /** Counts one more attempt, and returns which one it is. */
  beginAttempt(turn: number): number {
    return turns.addAttempt(this.#db, turn);
  }

  /** Takes an attempt back: it was not this turn that ended it. */
  takeBackAttempt(turn: number): void {
    turns.removeAttempt(this.#db, turn);
  }

  /** Tokens that the turn read, after those of its path; none before it ended. Throws `data_damaged`. */
  promptTokens(turn: number): number[] {
    return turns.readTokens(this.#db, turn, "prompt_tokens");
  }

  /** Tokens that the turn generated; none before it ended. Throws `data_damaged`. */
  replyTokens(turn: number): number[] {
    return turns.readTokens(this.#db, turn, "reply_tokens");
  }

  /** Log-probabilities of the reply's tokens; null where none were asked for. */
  logProbabilities(turn: number): turns.TokenLogProbabilities[] | null {
    return turns.readLogProbabilities(this.#db, turn);
  }

  /** Tokens logged of a running turn under this mark, a u32 that names the model. What is damaged, or another's, goes. */
  openLog(turn: number, mark: number, isReported = false): log.Logged {
    return log.openLog(this.#db, turn, mark, isReported);
  }

  /** Adds to the log of a running turn, one row a call. */
  appendLog(turn: number, mark: number, tokens: number[], logProbabilities: turns.TokenLogProbabilities[] = []): void {
    log.addToLog(this.#db, turn, mark, { tokens, logProbabilities });
  }

  /** Resolves when all that was written outlives this process. */
  synced(): Promise<void> {
    return this.#db.synced();
  }

  /**
   * Ends a turn: its row, its tokens, its snapshot, the head of its branch; its log goes, and so do old snapshots beyond
   * the limit. One transaction. Throws `not_found` where the turn does not run any more. Returns what was written.
   * `texts`: what the turn was asked, where it shall be found by its texts.
   */
  commit(
    turn: number,
    outcome: turns.TurnOutcome,
    snapshot: NewSnapshot | null,
    texts: readonly ChatMessage[] | null = null,
  ): TurnStorage {
    const db = this.#db;
    return db.transaction(() => {
      const before = db.written;
      const { parent, branch } = turns.placeOfRunning(db, turn);
      if (snapshot !== null && hasState(snapshot)) {
        snapshots.saveSnapshot(db, turn, snapshot.state, snapshot.identity, snapshot.base);
      }
      if (branch !== null) branches.setBranchHead(db, branch, turn, outcome.nowMs);
      if (texts !== null) prefixes.addPrefix(db, turn, parent, [...texts, { role: "model", content: outcome.text }]);
      log.deleteLog(db, turn);
      snapshots.dropOldSnapshots(db, turn);
      const state = {
        endPosition: snapshot?.state.position ?? null,
        checkpoint: snapshot?.identity.checkpoint ?? null,
        stateBytes: snapshot?.state.data?.byteLength ?? 0,
      };
      return turns.finishTurn(db, turn, outcome, state, before);
    });
  }

  /** Ends a turn without a state: no branch moves. With code `cancelled` it is cancelled, else failed. */
  fail(turn: number, error: turns.TurnError, nowMs: number, usage: TurnUsage | null = null): void {
    this.#db.transaction(() => {
      turns.failTurn(this.#db, turn, error, nowMs, usage);
      log.deleteLog(this.#db, turn);
    });
  }

  /** What is still to be told of turns that ended. */
  ends(): outbox.TurnEnd[] {
    return outbox.readEnds(this.#db);
  }

  /** What is still to be told of a turn's end; undefined where that is nothing. */
  end(turn: number): outbox.TurnEnd | undefined {
    return outbox.readEnds(this.#db, turn)[0];
  }

  /**
   * Deletes a turn's response, and its state. Branches that it heads go back to the turn before; where turns go on from
   * it, its tokens stay for them.
   */
  removeTurn(turn: number): void {
    this.#db.transaction(() => {
      const parent = turns.readStep(this.#db, turn)?.parent ?? null;
      branches.moveHeads(this.#db, turn, turns.nearestKept(this.#db, parent));
      if (!removal.isNeeded(this.#db, turn)) return this.#delete([turn]);
      turns.emptyTurn(this.#db, turn);
      snapshots.deleteSnapshots(this.#db, [turn]);
    });
  }

  /** The state after a turn, for this model alone. */
  loadSnapshot(turn: number, identity: snapshots.ModelIdentity): LoadedSnapshot {
    const stored = snapshots.readSnapshot(this.#db, turn, identity);
    if (stored === "none") return { missing: turns.hadState(this.#db, turn) ? "dropped" : "never" };
    return typeof stored === "string" ? { missing: stored } : { state: stored };
  }

  /** The longest beginning of `messages` that ends with the reply of a stored turn. */
  longestPrefix(messages: readonly ChatMessage[]): prefixes.Prefix {
    return prefixes.longestPrefix(this.#db, messages);
  }

  /**
   * Deletes finished turns begun before a time, and the oldest above a number, but for those that younger ones or
   * branches go on from.
   */
  removeOldTurns(beforeMs: number, most: number): void {
    this.#db.transaction(() => this.#delete(removal.findOldTurns(this.#db, beforeMs, most)));
  }

  /** When the oldest turn that nothing goes on from was begun; null where there is none. */
  oldestTurnMs(): number | null {
    return turns.oldestLeafMs(this.#db);
  }

  /** The same of those that no branch ends with. */
  oldestLooseTurnMs(): number | null {
    return turns.oldestLeafMs(this.#db, "AND turn NOT IN (SELECT head FROM branches WHERE head IS NOT NULL)");
  }

  /** How many turns are imported states. */
  importCount(): number {
    return turns.countImports(this.#db);
  }

  /** How much there is of each kind. Pages are shared where there are more references than pages. */
  counts(): { turns: number; snapshots: number; pages: number; pageReferences: number } {
    return { turns: turns.countTurns(this.#db), ...snapshots.countSnapshots(this.#db) };
  }

  /** Deletes turns, and then removed ones that only these had kept. */
  #delete(doomed: number[]): void {
    snapshots.deleteSnapshots(this.#db, doomed);
    removal.deleteTurns(this.#db, doomed);
    removal.deleteTurns(this.#db, removal.findLeftovers(this.#db));
  }
}
