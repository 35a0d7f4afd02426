// Conversation: the Durable Object that owns a tree of turns. It accepts requests, runs turns in the background, streams
// them to whoever reads, and finds the ones that a dead process left unfinished. What it keeps is the Store's business,
// how a turn runs is runTurn's.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { parseSampling } from "../engine/sampling.ts";
import { GriffinError } from "../errors.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import { LiveTurn } from "./live-turn.ts";
import {
  mostReplyTokens,
  type ConversationView,
  type ListedTurn,
  type TurnListing,
  type TurnOptions,
  type TurnPage,
  type TurnRequest,
  type TurnView,
} from "./protocol.ts";
import { replay } from "./replay.ts";
import { runTurn, samplingOf, type TurnHost } from "./run-turn.ts";
import { hasStore, openStore, type Store, type TurnRow, type TurnStep } from "./store.ts";
import { turnLine } from "./turn-log.ts";
import { damagedTurn, startedEvent, turnRow, turnStep, viewOf } from "./view.ts";

/** If the process dies, an alarm this much later finds what it left. */
const recoverAfterMs = 10_000;
/** What is kept for clients that name nothing: prefixes of chats, names of repeated requests. */
const lifetimeMs = 24 * 3_600_000;
/** Turns of an object that only stores prefixes; above that the oldest go. */
const mostPrefixTurns = 1_000;
/** Since when an object stores prefixes; absent where it does not. */
const prefixesSinceKey = "prefixes_since_ms";
const rememberedNameKey = "remembered_name";
/** Left behind for a day where a conversation was deleted: a repeated creation must not use its ids again. */
const isDeletedKey = "is_deleted";
/** A page of turns ends when it has this much: a message between objects may have 32 MiB. */
const mostPageBytes = 2 ** 22;

export class Conversation extends DurableObject<Env> {
  #store: Store | undefined;
  readonly #live = new Map<number, LiveTurn>();
  #alarmMs = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    if (hasStore(ctx.storage)) this.#open();
  }

  /**
   * The name that was given here for the first time, for a day: a repeated request finds what it made before. Throws
   * `key_reused` where the bodies, named by their hashes, differ.
   */
  rememberName(name: string, body: string): string {
    const { kv } = this.ctx.storage;
    const known = kv.get<{ name: string; body: string }>(rememberedNameKey);
    if (known === undefined) {
      kv.put(rememberedNameKey, { name, body });
      this.#wakeAt(Date.now() + lifetimeMs);
      return name;
    }
    if (known.body === body) return known.name;
    throw new GriffinError("key_reused", "The Idempotency-Key was used with another body: take a new one.");
  }

  /** Makes the conversation's first branch, or finds it. */
  create(metadata: Record<string, string>): ConversationView {
    const store = this.#store ?? this.#open();
    return store.branch(0) ?? store.createBranch({ parentBranch: null, head: null, metadata, nowMs: Date.now() });
  }

  branch(branch: number): ConversationView {
    const view = this.#store?.branch(branch);
    if (!view) throw new GriffinError("not_found", `There is no branch ${branch} here.`);
    return view;
  }

  updateBranch(branch: number, metadata: Record<string, string>): ConversationView {
    this.branch(branch);
    this.#known().updateBranch(branch, metadata);
    return this.branch(branch);
  }

  /** A new branch whose head is a finished turn, the beginning (null), or the head of `branch`. */
  fork(branch: number, turn?: number | null): ConversationView {
    const { head, metadata } = this.branch(branch);
    if (typeof turn === "number") this.#finished(turn);
    const from = turn === undefined ? head : turn;
    return this.#known().createBranch({ parentBranch: branch, head: from, metadata, nowMs: Date.now() });
  }

  /** Deletes a branch, and with the last one everything. Turns that go with it are cancelled first. */
  async removeBranch(branch: number): Promise<void> {
    this.branch(branch);
    const isLast = () => this.#known().branchCount() === 1;
    const doomed = () => {
      // Somebody else may have deleted it meanwhile: then what runs is another branch's.
      if (this.#known().branch(branch) === null) return [];
      const gone = isLast() ? null : new Set(this.#known().turnsOfBranchAlone(branch));
      return [...this.#live.values()].filter(({ turn }) => gone === null || gone.has(turn));
    };
    // Others may begin, fork or delete while these are cancelled; what follows the loop runs without a pause.
    for (let running = doomed(); running.length > 0; running = doomed()) {
      for (const { cancel } of running) cancel.abort();
      await Promise.all(running.map(({ done }) => done));
    }
    if (this.#known().branch(branch) === null) return;
    if (isLast()) await this.#forgetConversation();
    else this.#known().removeBranch(branch);
  }

  /** A stretch of the turns of a branch, the one that runs included. */
  turns(branch: number, { order, from, limit }: TurnListing): TurnPage {
    const { head } = this.branch(branch);
    const store = this.#known();
    const running = store.runningTurn(branch);
    const numbers = [...(head === null ? [] : store.keptPath(head)), ...(running === null ? [] : [running])];
    if (order === "desc") numbers.reverse();
    const start = from === undefined ? 0 : numbers.indexOf(from);
    if (start < 0) return { turns: [], isLast: true };
    const turns: ListedTurn[] = [];
    let bytes = 0;
    for (const turn of numbers.slice(start, start + limit)) {
      const view = this.#viewOrDamage(turn);
      turns.push(view);
      bytes += JSON.stringify(view).length;
      // Two at least: of the first one there may be nothing left to list.
      if (bytes > mostPageBytes && turns.length > 1) break;
    }
    return { turns, isLast: start + turns.length === numbers.length };
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
    return this.#view(turnRow(this.#known(), turn));
  }

  /** The events of a turn as NDJSON, from the first one, live while it runs. */
  async events(turn: number): Promise<ReadableStream<Uint8Array>> {
    const row = turnRow(this.#known(), turn);
    const live = this.#live.get(turn);
    if (live !== undefined) return live.stream();
    const again = new LiveTurn(turn, false);
    for (const event of await replay(this.#known(), row, this.env)) again.add(event);
    again.end();
    return again.stream();
  }

  /** Stops a turn after the step that runs, and returns it as it is kept. */
  async cancel(turn: number): Promise<TurnView> {
    await this.#stop(turn);
    return this.view(turn);
  }

  /** Deletes a response: its text is gone, its state cannot be reached. */
  async remove(turn: number): Promise<void> {
    await this.#stop(turn);
    this.#known().removeTurn(turn);
    if (this.#known().branchCount() === 0 && this.#known().counts().turns === 0) await this.#forgetConversation();
  }

  override async alarm(): Promise<void> {
    this.#alarmMs = 0;
    // A remembered name, or what is left of a deleted conversation.
    if (this.#store === undefined) return this.#forget();
    this.#recover();
    if (this.#isPrefixStore()) {
      this.#store.removeOldTurns(Date.now() - lifetimeMs, mostPrefixTurns);
      const oldestMs = this.#store.oldestTurnMs();
      if (oldestMs === null) return this.#forget();
      this.#wakeAt(Math.max(oldestMs + lifetimeMs, Date.now() + recoverAfterMs));
    }
    if (this.#live.size > 0) this.#wakeAt(Date.now() + recoverAfterMs);
  }

  async #begin(request: TurnRequest): Promise<number> {
    const { options, repeatKey } = request;
    const repeated = this.#repeated(request);
    if (repeated !== null) return repeated;
    if (request.messages.length === 0)
      throw new GriffinError("invalid_argument", "There must be at least one message.");

    // Whatever can be wrong with the request is said now, while there is nothing to take back.
    const engine = await engineOf(options.model, this.env);
    parseSampling(samplingOf(options), engine.config.vocabSize);
    checkLength(options);
    const begun = this.#repeated(request);
    if (begun !== null) return begun;
    const place = this.#place(request);
    const store = this.#store ?? this.#open();
    const { endsWithClient, metadata } = request;
    const turn = store.insertTurn({ ...place, options, metadata, repeatKey, endsWithClient, nowMs: Date.now() });
    this.#run(turn, endsWithClient);
    return turn;
  }

  /** The turn that this request began when it was sent before. */
  #repeated({ repeatKey, repeatWithinMs, isNamed }: TurnRequest): number | null {
    if (repeatKey === null || repeatWithinMs <= 0) return null;
    const turn = this.#store?.turnOfRepeatKey(repeatKey) ?? null;
    const step = turn === null ? null : this.#known().step(turn);
    if (step === null || step.removed || step.status === "failed" || step.status === "cancelled") return null;
    if (this.#live.get(step.turn)?.cancel.signal.aborted) return null;
    if (!isNamed && step.status !== "in_progress" && !this.#isLatest(step)) return null;
    return step.createdMs + repeatWithinMs >= Date.now() ? step.turn : null;
  }

  /** Whether nothing came after a turn, or beside it. */
  #isLatest({ turn, parent, branch }: TurnStep): boolean {
    const store = this.#known();
    if (branch !== null) return store.branch(branch)?.head === turn && store.runningTurn(branch) === null;
    return store.children(parent).at(-1)?.turn === turn && store.children(turn).length === 0;
  }

  /** Where a turn goes: checked and taken without a pause in between. */
  #place({ place, messages }: TurnRequest): Pick<TurnRow, "parent" | "branch" | "messages"> {
    if (place.kind === "branch") {
      const { branch, head } = this.branch(place.branch);
      const running = this.#known().runningTurn(branch);
      if (running !== null) {
        throw new GriffinError(
          "conversation_busy",
          "The conversation has a response in progress: wait for it, or cancel it.",
        );
      }
      return { parent: head, branch, messages };
    }
    if (place.kind === "after") {
      if (place.turn !== null) this.#finished(place.turn);
      return { parent: place.turn, branch: null, messages };
    }
    if (!this.#isPrefixStore()) this.ctx.storage.kv.put(prefixesSinceKey, Date.now());
    const store = this.#store ?? this.#open();
    return { ...store.longestPrefix(messages), branch: null };
  }

  #isPrefixStore(): boolean {
    return this.ctx.storage.kv.get<number>(prefixesSinceKey) !== undefined;
  }

  /** Lets a stored turn run in the background. */
  #run(turn: number, endsWithClient: boolean): void {
    const store = this.#known();
    const live = new LiveTurn(turn, endsWithClient);
    this.#live.set(turn, live);
    live.add(startedEvent(turnRow(store, turn)));
    const host: TurnHost = {
      store,
      env: this.env,
      now: Date.now,
      keepsPrefixes: this.#isPrefixStore(),
      keepAlive: () => this.#wakeAt(Date.now() + recoverAfterMs),
      ended: (view) => console.log(turnLine(this.ctx.id.toString(), view)),
    };
    host.keepAlive();
    this.ctx.waitUntil(runTurn(host, live).finally(() => this.#live.delete(turn)));
  }

  /** Goes on with the turns that another process began and did not end. */
  #recover(): void {
    for (const turn of this.#known().unfinishedTurns()) {
      if (this.#live.has(turn)) continue;
      try {
        // Whoever asked for it may come back for it, so it no longer ends with its client.
        this.#run(turn, false);
      } catch {
        this.#live.delete(turn);
        const message = "What this response was asked is damaged in storage.";
        this.#known().fail(turn, { code: "internal", message }, Date.now());
      }
    }
  }

  #view(row: TurnRow): TurnView {
    return viewOf(row, row.status === "in_progress" ? this.#live.get(row.turn)?.text : row.text);
  }

  /** Lists go on past a turn whose texts are damaged. */
  #viewOrDamage(turn: number): ListedTurn {
    try {
      return this.view(turn);
    } catch (error) {
      const step = this.#known().step(turn);
      if (step === null || !(error instanceof GriffinError) || error.code !== "internal") throw error;
      return damagedTurn(step, error);
    }
  }

  /** Ends a turn after the step that runs, if it runs. Throws `not_found`. */
  async #stop(turn: number): Promise<void> {
    turnStep(this.#known(), turn);
    const live = this.#live.get(turn);
    live?.cancel.abort();
    await live?.done;
  }

  #finished(turn: number): void {
    const { status, endPosition } = turnStep(this.#known(), turn);
    if (status === "in_progress") {
      throw new GriffinError(
        "conversation_busy",
        "The response to go on from is still in progress: wait for it, or cancel it.",
      );
    }
    if (endPosition === null) {
      throw new GriffinError(
        "invalid_argument",
        `The response to go on from ${status === "failed" ? "failed" : "was cancelled"} before it had a state. Go on from the one before it.`,
      );
    }
  }

  #known(): Store {
    if (this.#store === undefined) throw new GriffinError("not_found", "There is nothing under this id.");
    return this.#store;
  }

  #open(): Store {
    if (this.ctx.storage.kv.get<boolean>(isDeletedKey)) throw new GriffinError("not_found", "It was deleted.");
    this.#store = openStore(this.ctx.storage);
    this.#recover();
    return this.#store;
  }

  async #forgetConversation(): Promise<void> {
    await this.#forget();
    if (this.#store !== undefined) return; // somebody began anew meanwhile
    this.ctx.storage.kv.put(isDeletedKey, true);
    this.#wakeAt(Date.now() + lifetimeMs);
  }

  async #forget(): Promise<void> {
    this.#store = undefined;
    this.#alarmMs = 0;
    await this.ctx.storage.deleteAll();
  }

  /** Sees to it that the alarm rings at about this time, or before. */
  #wakeAt(timeMs: number): void {
    const isSoonEnough = this.#alarmMs > Date.now() + recoverAfterMs / 4 && this.#alarmMs <= timeMs;
    if (isSoonEnough) return;
    this.#alarmMs = timeMs;
    this.ctx.waitUntil(this.ctx.storage.setAlarm(timeMs));
  }
}

function checkLength({ maxTokens, topLogProbabilities }: TurnOptions): void {
  const most = mostReplyTokens(topLogProbabilities);
  if (maxTokens <= most) return;
  throw new GriffinError("invalid_argument", `A reply has at most ${most} tokens here, asked for ${maxTokens}.`);
}
