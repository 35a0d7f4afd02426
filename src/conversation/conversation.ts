// Conversation: the Durable Object that owns a tree of turns. It accepts requests, says what there is, and deletes. What it
// keeps is the Store's business; turns run as RunningTurns lets them, each as runTurn says.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { GriffinError } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import {
  checkAnswers,
  checkHasMessages,
  checkIdle,
  checkRequest,
  checkUnread,
  placeOf,
  repeatedTurn,
} from "./accept.ts";
import { Alarm } from "./alarm.ts";
import { leaveEnds, leftEnds, tellLeft } from "./announce.ts";
import { settle } from "./charges.ts";
import type { CompletionRequest } from "./completion-protocol.ts";
import { beginCompletion } from "./completions.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import { forkBranch, noRepeat, type ForkRepeat } from "./fork.ts";
import type { LiveTurn } from "./live-turn.ts";
import { checkIsOn, hasTexts, latestReply, messagesAt, type MessagePlace } from "./lookup.ts";
import {
  rememberedMs,
  type ConversationChange,
  type ConversationView,
  type ForkPoint,
  type ItemsRequest,
  type ListedTurn,
  type SharedStart,
  type ToolUse,
  type TurnOptions,
  type TurnListing,
  type TurnPage,
  type TurnRequest,
  type TurnView,
} from "./protocol.ts";
import { forgetSharedStarts, keepSharedStart } from "./shared-start.ts";
import { orDamaged } from "./parts.ts";
import { nextExpiryMs, removeExpired, retentionMs } from "./retention.ts";
import { replay } from "./replay.ts";
import { recoverAfterMs, RunningTurns } from "./running-turns.ts";
import { checkImports, exportState, fileLimitBytes, readImport } from "./state-files.ts";
import { hasStore, openStore, type Store } from "./store.ts";
import { countTokens, decodeTokens, encodeTokens, type Counted, type Encoded } from "./tokens.ts";
import { toldOnce } from "./turn-format.ts";
import { branchHead, branchView, listedTurn, turnRow, turnStep, viewOf } from "./view.ts";

/** Turns of an object that only stores prefixes; above that the oldest go. */
const mostPrefixTurns = 1_000;
/** Since when an object stores prefixes; absent where it does not. */
const prefixesSinceKey = "prefixes_since_ms";
/** Left behind for a day where a conversation was deleted: a repeated creation must not use its ids again. */
/** Since when. */
const isDeletedKey = "is_deleted";
/** A page of turns ends when it has this much: a message between objects may have 32 MiB. */
const mostPageBytes = 2 ** 22;

export class Conversation extends DurableObject<Env> {
  /** undefined: nothing is stored here. */
  #store: Store | undefined;
  readonly #alarm: Alarm;
  readonly #running: RunningTurns;
  /** The last one who asked for a shared state. */
  #sharing: Promise<unknown> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    if (hasStore(ctx.storage)) this.#store = openStore(ctx.storage);
    this.#alarm = new Alarm(ctx);
    this.#running = new RunningTurns({
      ctx,
      env,
      alarm: this.#alarm,
      store: () => this.#store,
      keepsPrefixes: () => this.#isPrefixStore(),
      forget: (turn) => this.#forgetTurn(turn),
    });
    void ctx.blockConcurrencyWhile(async () => {
      await this.#alarm.load();
      this.#running.recover();
    });
  }

  /** Makes the conversation's first branch with these items in it, or finds it. */
  create(
    metadata: Record<string, string>,
    items: ItemsRequest | null = null,
    expiresAfterS: number | null = null,
  ): ConversationView {
    const store = this.#opened();
    const nowMs = Date.now();
    const known = store.branch(0);
    if (known !== null) return known;
    store.createBranch({ parentBranch: null, head: null, metadata, expiresAfterS, nowMs });
    if (items !== null) store.addItems(0, { ...items, nowMs });
    this.#ringAtExpiry();
    return this.branch(0);
  }

  branch(branch: number): ConversationView {
    return branchView(this.#known(), branch);
  }

  updateBranch(branch: number, change: ConversationChange): ConversationView {
    this.#known().updateBranch(branch, change, Date.now());
    this.#ringAtExpiry();
    return this.branch(branch);
  }

  /** Puts items behind the head of a branch: the next response reads them. A repeated request finds its first ones. */
  append(branch: number, request: ItemsRequest): TurnView {
    const store = this.#known();
    const repeated = this.#repeated(request);
    if (repeated !== null) return this.view(repeated);
    checkIdle(store, branch);
    return this.view(store.addItems(branch, { ...request, nowMs: Date.now() }));
  }

  /** The turn of a branch that an item belongs to. */
  turnOn(branch: number, turn: number): TurnView {
    checkIsOn(this.#known(), branch, turn);
    return this.view(turn);
  }

  /** Messages by their places; null for what is not there. */
  messagesAt(places: MessagePlace[], mostLength: number): (ChatMessage | null)[] {
    if (this.#store === undefined) return places.map(() => null);
    return messagesAt(this.#store, places, mostLength);
  }

  /** Whether all that was said up to a turn is exactly this, and it was told of no other tools. */
  hasTexts(turn: number, messages: ChatMessage[], tools: ToolUse | null): boolean {
    return this.#store !== undefined && hasTexts(this.#store, turn, messages, tools);
  }

  /** The turn that runs on a branch, or else the last one that replied; null where there is none. */
  latestReply(branch: number): number | null {
    return latestReply(this.#known(), branch);
  }

  /** Deletes the text of an item, here and in every fork that shares it, with all states that had read it. */
  async removeItem(branch: number, turn: number, item: number): Promise<ConversationView> {
    const check = () => {
      checkIsOn(this.#known(), branch, turn);
      checkUnread(this.#known(), turn);
    };
    check();
    await this.#forgetShared();
    check();
    this.#leaveEnds(this.#known());
    this.#known().removeItem(turn, item);
    return this.branch(branch);
  }

  /** A new branch that ends at a point, or where `branch` does; a repeated request finds its first one. */
  fork(branch: number, point: ForkPoint | null = null, repeat: ForkRepeat = noRepeat): ConversationView {
    return forkBranch(this.#known(), branch, point, repeat);
  }

  /** Deletes a branch, and with the last one everything. Turns that go with it are cancelled first. */
  async removeBranch(branch: number): Promise<void> {
    branchHead(this.#known(), branch);
    // Others may begin, fork or delete while these are cancelled; what follows the loop runs without a pause.
    for (let isForgotten = false, running = this.#runningAlone(branch); !isForgotten || running.length > 0;) {
      for (const { cancel } of running) cancel.abort();
      await Promise.all(running.map(({ done }) => done));
      await this.#forgetShared();
      isForgotten = true;
      running = this.#runningAlone(branch);
    }
    const store = this.#known();
    if (store.branchHead(branch) === undefined) return; // by somebody else meanwhile
    if (store.branchCount() === 1) return this.#leaveTombstone();
    this.#leaveEnds(store);
    store.removeBranch(branch);
  }

  /** A stretch of the turns of a branch, the one that runs included. */
  turns(branch: number, { order, from, limit }: TurnListing): TurnPage {
    const store = this.#known();
    const head = branchHead(store, branch);
    const running = store.runningTurn(branch);
    const numbers = [...(head === null ? [] : store.keptPath(head)), ...(running === null ? [] : [running])];
    if (order === "desc") numbers.reverse();
    const start = from === undefined ? 0 : numbers.indexOf(from);
    if (start < 0) return { turns: [], isLast: true };
    const turns: ListedTurn[] = [];
    let bytes = 0;
    for (const turn of numbers.slice(start, start + limit)) {
      const view = listedTurn(turn, (number) => this.view(number), store);
      turns.push(view);
      bytes += JSON.stringify(view).length;
      // Two at least: of the first one there may be nothing left to list.
      if (bytes > mostPageBytes && turns.length > 1) break;
    }
    return { turns, isLast: start + turns.length === numbers.length };
  }

  /** Whether a branch has a turn in progress. */
  isBusy(branch: number): boolean {
    return (this.#store?.runningTurn(branch) ?? null) !== null;
  }

  /** Accepts a turn and lets it run. A repeated request finds the turn of the first one. */
  async begin(request: TurnRequest): Promise<TurnView> {
    return this.view(await this.#begin(request));
  }

  /** Accepts a turn and streams it. */
  async stream(request: TurnRequest): Promise<ReadableStream<Uint8Array>> {
    return this.events(await this.#begin(request));
  }

  view(turn: number): TurnView {
    const row = turnRow(this.#known(), turn);
    return viewOf(row, row.status === "in_progress" ? this.#running.get(turn)?.text : row.text);
  }

  /** The events of a turn as NDJSON, from the first one, live while it runs. */
  async events(turn: number): Promise<ReadableStream<Uint8Array>> {
    const row = turnRow(this.#known(), turn);
    return this.#running.get(turn)?.stream() ?? replay(this.#known(), row, this.env);
  }

  /** Stops a turn after the step that runs, and returns it as it is kept. */
  async cancel(turn: number): Promise<TurnView> {
    await this.#stop(turn);
    return this.view(turn);
  }

  /** Deletes a response: its text is gone, its state cannot be reached. */
  async remove(turn: number): Promise<void> {
    await this.#stop(turn);
    await this.#forgetShared();
    this.#leaveEnds(this.#known());
    this.#known().removeTurn(turn);
    if (this.#isEmpty()) await this.#leaveTombstone();
  }

  /** The most bytes that a file of a state of this model has. */
  async stateFileLimitBytes(model: string): Promise<number> {
    return fileLimitBytes(model, this.env);
  }

  /** The state after the last response of a branch, as a file. */
  async exportState(branch: number): Promise<Uint8Array> {
    return exportState(this.#known(), branch, this.env);
  }

  /** Makes the state in a file the head of a branch: what was said on it before is not part of it any more. */
  async importState(branch: number, file: Uint8Array, options: TurnOptions): Promise<ConversationView> {
    checkIdle(this.#known(), branch);
    const imported = await readImport(file, options, this.env);
    // Without a pause from here on: a turn may have begun meanwhile.
    const store = this.#known();
    checkIdle(store, branch);
    checkImports(store);
    store.importState(branch, imported);
    return this.branch(branch);
  }

  /** The state behind tokens that chats begin with, kept here for whoever asks next. */
  async sharedStart(model: string, tokens: number[], options: TurnOptions): Promise<SharedStart> {
    // One after another: who comes second finds what the first one kept.
    const ask = () => {
      const store = this.#opened();
      this.#keepForADay();
      this.#alarm.ringBy(Date.now() + rememberedMs);
      return keepSharedStart(store, model, tokens, options, this.env);
    };
    const answer = this.#sharing.then(ask, ask);
    this.#sharing = answer;
    return answer;
  }

  /** Drops all states behind what chats begin with that are kept here. */
  async forgetSharedStarts(): Promise<void> {
    // Whatever else an object keeps is nobody's to drop.
    const drop = () => (this.#isPrefixStore() ? this.#forget() : undefined);
    const done = this.#sharing.then(drop, drop);
    this.#sharing = done;
    return done;
  }

  /** Completes prompts. Nothing of it is kept; it ends when the reader of its events, NDJSON, goes away. */
  async complete(request: CompletionRequest): Promise<ReadableStream<Uint8Array>> {
    const { events, done } = await beginCompletion(request, this.env, this.ctx.id.toString());
    this.ctx.waitUntil(done);
    return events;
  }

  /** The tokens of a text or of a chat. */
  async encode(request: Encoded): Promise<number[]> {
    return encodeTokens(request, this.env);
  }

  /** The text of tokens. */
  async decode(model: string, tokens: number[]): Promise<string> {
    return decodeTokens(model, tokens, this.env);
  }

  /** The tokens that a turn would report to have read, what was said before it included. */
  async countTokens(request: Counted): Promise<number> {
    const isNew = request.place.kind === "after" && request.place.turn === null;
    return countTokens(isNew ? null : this.#known(), request, this.env);
  }

  override async alarm(): Promise<void> {
    this.#alarm.isGone();
    // Nothing, or what is left of a deleted conversation.
    if (this.#store === undefined) return this.#dropTombstone();
    this.#running.recover();
    if (this.#isPrefixStore()) {
      this.#store.removeOldTurns(Date.now() - rememberedMs, mostPrefixTurns);
      const oldestMs = this.#store.oldestTurnMs();
      if (oldestMs === null) return this.#forget();
      this.#alarm.ringBy(Math.max(oldestMs + rememberedMs, Date.now() + recoverAfterMs));
    } else {
      const nextMs = await this.#removeExpired(this.#store);
      if (this.#isEmpty()) return this.#leaveTombstone();
      this.#ringAt(nextMs);
    }
    if (this.#running.all().length > 0) this.#alarm.ringBy(Date.now() + recoverAfterMs);
  }

  async #begin(request: TurnRequest): Promise<number> {
    const { options, metadata, repeatKey, endsWithClient, place } = request;
    const repeated = this.#repeated(request);
    if (repeated !== null) return this.#again(repeated, options);
    const engine = await engineOf(options.model, this.env);
    checkRequest(request, engine.config);
    engine.checkThere({ hasFormat: options.format !== null || options.tools !== null });

    // From here on without a pause: the same request may have come a second time meanwhile.
    const begun = this.#repeated(request);
    if (begun !== null) return this.#again(begun, options);
    const isNew = place.kind === "prefix" || (place.kind === "after" && place.turn === null);
    const store = isNew ? this.#opened() : this.#known();
    const found = placeOf(store, request);
    checkHasMessages(store, found);
    checkAnswers(store, found.parent, request.answers);
    if (place.kind === "prefix") this.#keepForADay();
    const turn = store.insertTurn({
      ...found,
      options: {
        ...options,
        tools: toldOnce(options.tools, store, found.parent),
        // What goes on from others begins with what they have read.
        sharedBy: found.parent === null ? options.sharedBy : null,
      },
      metadata,
      repeatKey,
      endsWithClient,
      nowMs: Date.now(),
    });
    this.#running.run(store, turn, endsWithClient);
    return turn;
  }

  /** A repeated request costs nothing: its first one does. */
  #again(turn: number, { chargedTo }: TurnOptions): number {
    this.ctx.waitUntil(settle(chargedTo, null, this.env));
    return turn;
  }

  #repeated(request: ItemsRequest): number | null {
    if (this.#store === undefined) return null;
    return repeatedTurn(this.#store, request, (turn) => this.#running.get(turn)?.cancel.signal.aborted ?? false);
  }

  /** The turns that run and would go with a branch; none where there is no such branch any more. */
  #runningAlone(branch: number): LiveTurn[] {
    const store = this.#known();
    if (store.branchHead(branch) === undefined) return [];
    const running = this.#running.all();
    if (store.branchCount() === 1) return running;
    const alone = new Set(store.turnsOfBranchAlone(branch));
    return running.filter(({ turn }) => alone.has(turn));
  }

  /** What is kept here goes a day after it was last used. */
  #keepForADay(): void {
    if (!this.#isPrefixStore()) this.ctx.storage.kv.put(prefixesSinceKey, Date.now());
  }

  #isPrefixStore(): boolean {
    return this.ctx.storage.kv.get<number>(prefixesSinceKey) !== undefined;
  }

  /** Leaves nothing of a turn that was not to be kept. */
  #forgetTurn(turn: number): Promise<void> | undefined {
    if (orDamaged(() => this.#store?.turn(turn))?.options.store !== false) return undefined;
    this.#leaveEnds(this.#known());
    this.#known().removeTurn(turn);
    if (!this.#isEmpty()) return undefined;
    return leftEnds(this.ctx.storage).length > 0 ? this.#leaveTombstone() : this.#forget();
  }

  /** Before anything is deleted: what is still to be told of turns is told all the same. */
  #leaveEnds(store: Store): void {
    const ends = store.ends();
    if (ends.length === 0) return;
    leaveEnds(this.ctx.storage, ends);
    // What a deletion leaves of a turn does not know any more what it cost.
    for (const { turn } of ends) store.settled(turn);
    this.#alarm.ringBy(Date.now() + recoverAfterMs);
  }

  /** Sees to it that what was kept long enough goes, though nobody asks for it. */
  #ringAtExpiry(): void {
    this.#ringAt(nextExpiryMs(this.#known(), retentionMs(this.env)));
  }

  /** Deletes what was kept long enough, and says when there will be more to delete. */
  async #removeExpired(store: Store): Promise<number> {
    const keepMs = retentionMs(this.env);
    const nowMs = Date.now();
    if (nextExpiryMs(store, keepMs) <= nowMs) {
      try {
        await this.#forgetShared();
      } catch {
        // An object does not answer, and that is logged; or there is nothing here any more.
        return this.#store === store ? nowMs + recoverAfterMs : Infinity;
      }
    }
    if (this.#store !== store) return Infinity;
    this.#leaveEnds(store);
    return removeExpired(store, keepMs, nowMs);
  }

  /** Makes others forget the texts that turns here began with. Throws `internal`, or `not_found` where all went meanwhile. */
  #forgetShared(): Promise<void> {
    return forgetSharedStarts(() => this.#known(), this.env);
  }

  #ringAt(atMs: number): void {
    if (atMs < Infinity) this.#alarm.ringBy(Math.max(atMs, Date.now() + recoverAfterMs));
  }

  #isEmpty(): boolean {
    return this.#store?.branchCount() === 0 && this.#store.counts().turns === 0;
  }

  /** Ends a turn after the step that runs, if it runs. Throws `not_found`. */
  async #stop(turn: number): Promise<void> {
    turnStep(this.#known(), turn);
    const live = this.#running.get(turn);
    live?.cancel.abort();
    await live?.done;
  }

  #known(): Store {
    if (this.#store === undefined) throw new GriffinError("not_found", "There is nothing under this id.");
    return this.#store;
  }

  /** The store, made where there is none. Throws `not_found` where a conversation was deleted. */
  #opened(): Store {
    if (this.ctx.storage.kv.get<number>(isDeletedKey)) throw new GriffinError("not_found", "It was deleted.");
    this.#store ??= openStore(this.ctx.storage);
    return this.#store;
  }

  /** Deletes everything, but that something was here. */
  async #leaveTombstone(): Promise<void> {
    // Without a pause: nobody can begin anew in between, and a process that dies leaves all or nothing.
    const ends = [...leftEnds(this.ctx.storage), ...(this.#store?.ends() ?? [])];
    const isDone = this.#forget();
    this.ctx.storage.kv.put(isDeletedKey, Date.now());
    leaveEnds(this.ctx.storage, ends);
    this.#alarm.ringBy(Date.now() + (ends.length > 0 ? recoverAfterMs : rememberedMs));
    await isDone;
  }

  /** Deletes what is left of a deleted conversation, a day after it was deleted, when everything about it was told. */
  async #dropTombstone(): Promise<void> {
    const { storage } = this.ctx;
    if (!(await tellLeft(storage, this.env))) return this.#alarm.ringBy(Date.now() + recoverAfterMs);
    const goesMs = (storage.kv.get<number>(isDeletedKey) ?? 0) + rememberedMs;
    if (goesMs > Date.now()) this.#alarm.ringBy(goesMs);
    else await storage.deleteAll();
  }

  #forget(): Promise<void> {
    this.#store = undefined;
    this.#alarm.isGone();
    return this.ctx.storage.deleteAll();
  }
}
