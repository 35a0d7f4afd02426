// The chat that is open: what its turns are, what is being said, and what its buttons do. It knows no DOM.
// A reply belongs to the server: closing the chat only stops watching.
import { GriffinError } from "../errors.ts";
import * as api from "./api.ts";
import { findChat, forkTitle, raiseChat, saveChat, saveDraft, titleOf, type Chat } from "./chats.ts";
import { measure, type Watch } from "./figures.ts";
import { follow } from "./follow.ts";
import { persist, type OnConnection } from "./patience.ts";
import { hasFailed, isRunning, newTurn, textOf, Tree, type Turn } from "./tree.ts";
import { inWords } from "./words.ts";

export interface Listener {
  /** Turns came, went or changed. */
  changed(): void;
  /** A reply grew. */
  grew(turn: Turn, text: string): void;
  ended(turn: Turn): void;
  /** A message is on its way, in a chat that has a name. */
  began(chat: Chat): void;
  /** A message that was stopped before the server had it. */
  gaveBack(message: string): void;
  connection: OnConnection;
}

/** Temperatures: a small model remembers best when it says what it is surest of; a second try is for something else. */
const surest = 0;
const varied = 0.7;

/** Stands for a conversation the server has not named yet. */
const unnamed = "";

export class OpenChat {
  /** null until the first message is sent. */
  chat: Chat | null;
  /** Why it could not be loaded, in words. */
  fault: string | null = null;
  isGone = false;
  /** Whether its turns are here, so that it can go on. */
  isReady: boolean;
  readonly #tree = new Tree();
  readonly #listener: Listener;
  readonly #closed = new AbortController();
  #shown: string;
  /** Where the unnamed conversation forks from; null begins anew. */
  #origin: { conversation: string; response: string | null } | null = null;
  #run: Run | null = null;
  #isLost = false;

  constructor(chat: Chat | null, listener: Listener) {
    this.chat = chat;
    this.isReady = chat === null;
    this.#shown = chat?.current ?? unnamed;
    this.#listener = {
      ...listener,
      connection: (lost) => {
        this.#isLost = lost !== null;
        listener.connection(lost);
      },
    };
  }

  /** The turns that are shown. */
  get path(): readonly Turn[] {
    return this.#tree.path(this.#shown);
  }

  get isBusy(): boolean {
    return this.#run !== null;
  }

  versions(turn: Turn): Turn[] {
    return this.#tree.versions(turn);
  }

  /** Stops watching. */
  close(): void {
    this.#closed.abort();
  }

  /** Gets the chat from the server: the conversation that is shown, then the others, which are its versions. */
  async load(): Promise<void> {
    const { chat } = this;
    if (chat === null) return;
    this.fault = null;
    try {
      await this.#loadPath(chat.current);
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.isGone = error instanceof GriffinError && error.code === "not_found";
      this.fault = inWords(error);
      this.#listener.changed();
      return;
    }
    this.isReady = true;
    if (chat.title === "" && this.path[0]) this.#keep(chat, { title: titleOf(this.path[0].message) });
    this.#listener.changed();
    const watching = this.#settle(chat);
    for (const conversation of chat.conversations) {
      if (conversation === chat.current || this.#tree.path(conversation).length > 0) continue;
      await this.#loadPath(conversation).catch(() => {});
      if (this.#closed.signal.aborted) return;
    }
    this.#listener.changed();
    await watching;
  }

  async send(message: string): Promise<void> {
    const last = this.path.at(-1);
    if (last && hasFailed(last)) this.#tree.drop(this.#shown, last);
    await this.#begin(message, surest);
  }

  /** Says a turn's message again, or another one in its place. What was said before stays, as another version. */
  async again(turn: Turn, message = turn.message): Promise<void> {
    if (hasFailed(turn)) return this.#retry(turn, message);
    const conversation = this.#origin?.conversation ?? this.#shown;
    this.#tree.fork(this.#shown, turn.parent, unnamed);
    this.#origin = { conversation, response: turn.parent?.response ?? null };
    this.#shown = unnamed;
    await this.#begin(message, message === turn.message ? varied : surest);
  }

  /** A new chat that knows everything up to a turn. */
  async fork(turn: Turn): Promise<Chat | null> {
    const { chat } = this;
    if (chat === null || turn.response === null) return null;
    const { response } = turn;
    try {
      const id = await this.#persist((signal) => api.forkConversation(chat.current, response, signal));
      const forked = { ...chat, id, title: forkTitle(chat.title), conversations: [id], current: id, sending: null };
      saveChat(forked);
      return forked;
    } catch (error) {
      if (this.#closed.signal.aborted) return null;
      throw error;
    }
  }

  /** Shows the version of the chat that a turn is part of. */
  show(turn: Turn): void {
    const conversation = this.#tree.conversationOf(turn);
    if (conversation === undefined || this.chat === null) return;
    this.#shown = conversation;
    if (conversation !== unnamed) {
      this.#origin = null;
      this.#tree.forget(unnamed);
      this.#keep(this.chat, { current: conversation });
      void this.#settle(this.chat);
    }
    this.#listener.changed();
  }

  /** Ends the reply after the token that is being computed. A message that never arrived is given back. */
  async stop(): Promise<void> {
    const run = this.#run;
    if (run === null) return;
    if (run.turn.response === null && this.#isLost) return run.stop.abort();
    run.isStopping = true;
    await this.#cancel(run);
  }

  /** A failed message goes out anew. One that the server may have is asked for again, never said twice. */
  async #retry(turn: Turn, message: string): Promise<void> {
    const sending = this.chat?.sending;
    if (turn.status === "failed" || message !== turn.message || !sending || sending.conversation !== this.#shown) {
      return this.send(message);
    }
    const { response } = turn;
    Object.assign(turn, { status: "waiting", reply: "", fault: null });
    await this.#watch(turn, async () => (response === null ? { request: sending } : { response }));
  }

  async #begin(message: string, temperature: number): Promise<void> {
    const turn = newTurn(this.path.at(-1) ?? null, message);
    this.#tree.append(this.#shown, turn);
    await this.#watch(turn, async (signal) => {
      const chat = await this.#place(message, signal);
      const sending = { conversation: chat.current, text: message, temperature, key: randomKey(), response: null };
      this.#keep(chat, { sending });
      raiseChat(chat.id);
      this.#listener.began(chat);
      return { request: sending };
    });
  }

  /** The chat, with a conversation on the server for what is shown. */
  async #place(message: string, signal: AbortSignal): Promise<Chat> {
    if (this.#shown !== unnamed && this.chat) return this.chat;
    const origin = this.#origin;
    const key = randomKey();
    const id = await persist(signal, this.#listener.connection, (each) =>
      origin === null
        ? api.createConversation(key, each)
        : api.forkConversation(origin.conversation, origin.response, each),
    );
    this.#tree.rename(unnamed, id);
    this.#shown = id;
    this.#origin = null;
    const chat = this.chat ?? {
      id,
      title: titleOf(message),
      conversations: [],
      current: id,
      sending: null,
      measured: {},
    };
    if (this.chat === null) saveDraft(null, "");
    this.#keep(chat, { conversations: [...chat.conversations, id], current: id });
    return (this.chat = chat);
  }

  /** Goes on with a reply that was running, or a message that was on its way, when the page was left. */
  async #settle(chat: Chat): Promise<void> {
    const { sending } = chat;
    const last = this.path.at(-1);
    if (this.#run !== null || (last && hasFailed(last))) return;
    if (last?.response && isRunning(last)) {
      const { response } = last;
      last.reply = "";
      return this.#watch(last, async () => ({ response }));
    }
    if (sending === null || sending.conversation !== this.#shown) return;
    const { response } = sending;
    if (response !== null && this.path.some((turn) => turn.response === response)) {
      return this.#keep(chat, { sending: null });
    }
    const turn = { ...newTurn(last ?? null, sending.text), response };
    this.#tree.append(this.#shown, turn);
    await this.#watch(turn, async () => (response === null ? { request: sending } : { response }));
  }

  /** Follows a turn's reply to its end. */
  async #watch(
    turn: Turn,
    prepare: (signal: AbortSignal) => Promise<{ request: api.Request } | { response: string }>,
  ): Promise<void> {
    const stop = new AbortController();
    const run: Run = { turn, stop, isStopping: false, stopped: null };
    const signal = AbortSignal.any([stop.signal, this.#closed.signal]);
    const askedMs = performance.now();
    this.#run = run;
    this.#listener.changed();
    let watch: Watch | null = null;
    const connection: OnConnection = (lost) => {
      // Times that include a server's absence say nothing of it.
      if (lost) watch = null;
      this.#listener.connection(lost);
    };
    try {
      const source = await prepare(signal);
      if ("request" in source) watch = { askedMs, firstTokenMs: null, lastTokenMs: null };
      for await (const progress of follow(source, signal, connection)) {
        if (progress.type === "created") {
          turn.response = progress.response;
          turn.status = "in_progress";
          const sending = this.chat?.sending;
          if (this.chat && sending) this.#keep(this.chat, { sending: { ...sending, response: turn.response } });
          if (run.isStopping) void this.#cancel(run);
        } else if (progress.type === "text") {
          if (watch) {
            watch.lastTokenMs = performance.now();
            watch.firstTokenMs ??= watch.lastTokenMs;
          }
          turn.reply += progress.text;
          this.#listener.grew(turn, progress.text);
        } else this.#end(turn, progress.response, watch);
      }
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      // Stopped before its first token it is not in the chat: the model never read the message.
      if (run.stopped?.status === "cancelled" && !run.stopped.griffin) this.#giveBack(turn);
      else if (run.stopped !== null) this.#end(turn, run.stopped, watch);
      else if (stop.signal.aborted) this.#giveBack(turn);
      else {
        turn.status = "broken";
        turn.fault = inWords(error);
        this.isGone = error instanceof GriffinError && error.code === "not_found";
        if (this.isGone) this.fault = turn.fault;
      }
    }
    this.#run = null;
    this.#listener.changed();
    this.#listener.ended(turn);
  }

  #end(turn: Turn, response: api.ResponseObject, watch: Watch | null): void {
    turn.status = response.status;
    if (response.status === "failed") {
      turn.fault = response.error?.message ?? "The reply failed.";
      return;
    }
    const message = response.output?.find(({ type }) => type === "message");
    if (message) turn.reply = textOf(message);
    turn.report = response;
    if (this.chat === null) return;
    turn.measured = watch ? measure(watch, response) : (this.chat.measured[response.id] ?? {});
    this.#keep(this.chat, { measured: { ...this.chat.measured, [response.id]: turn.measured }, sending: null });
  }

  /** What the server says of the stopped reply is its end, whatever of it is still on its way. */
  async #cancel(run: Run): Promise<void> {
    const { response } = run.turn;
    if (response === null) return;
    // A reply that ended by itself meanwhile needs no stopping.
    const stopped = await this.#persist((signal) => api.cancelResponse(response, signal)).catch(() => null);
    if (stopped === null || this.#run !== run) return;
    run.stopped = stopped;
    run.stop.abort();
  }

  #giveBack(turn: Turn): void {
    this.#tree.drop(this.#shown, turn);
    if (this.chat) this.#keep(this.chat, { sending: null });
    this.#listener.connection(null);
    this.#listener.gaveBack(turn.message);
  }

  async #loadPath(conversation: string): Promise<void> {
    this.#tree.put(conversation, await this.#persist((signal) => api.listItems(conversation, signal)));
    for (const turn of this.#tree.path(conversation)) {
      turn.measured = this.chat?.measured[turn.response ?? ""] ?? turn.measured;
    }
  }

  #keep(chat: Chat, change: Partial<Chat>): void {
    const stored = findChat(chat.id);
    Object.assign(chat, change);
    // Another window may have added versions, or have deleted the chat.
    chat.conversations = [...new Set([...(stored?.conversations ?? []), ...chat.conversations])];
    if (stored || this.chat === null) saveChat(chat);
  }

  #persist<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return persist(this.#closed.signal, this.#listener.connection, act);
  }
}

/** A reply that is followed. */
interface Run {
  turn: Turn;
  stop: AbortController;
  isStopping: boolean;
  /** What the server said when it was stopped. */
  stopped: api.ResponseObject | null;
}

/** 128 random bits. `crypto.randomUUID` is missing where the page comes over plain http. */
const randomKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
