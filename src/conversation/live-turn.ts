// A turn that runs in this process: its events so far, who reads them, and how to stop it. Readers are cursors into one
// list, so a slow one costs nothing and none can miss an event or hold up the turn.
import { eventLines, mostEventsAPiece } from "./event-lines.ts";
import type { TurnEvent, TurnUsage } from "./protocol.ts";

export class LiveTurn {
  readonly turn: number;
  /** Stops the turn after the step that runs. */
  readonly cancel = new AbortController();
  /** Resolves when the turn is committed or has failed. */
  readonly done: Promise<void>;
  /** What the attempt that runs has used so far; null before its first token. */
  usage: TurnUsage | null = null;
  /** Of the prompt, what was read for this turn and is kept for others to share. An attempt after that finds it there. */
  sharedTokens = 0;
  readonly #events: TurnEvent[] = [];
  readonly #endsWithClient: boolean;
  #tokens = 0;
  #isDone = false;
  #readers = 0;
  #wake = Promise.withResolvers<void>();
  #finish: () => void;

  constructor(turn: number, endsWithClient: boolean) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.turn = turn;
    this.#endsWithClient = endsWithClient;
    this.done = promise;
    this.#finish = resolve;
  }

  /** What the tokens so far spell. */
  get text(): string {
    return this.#events.reduce((text, event) => (event.type === "token" ? text + event.text : text), "");
  }

  /** Adds an event; a token that an attempt before this one has brought already is left out. */
  add(event: TurnEvent): void {
    if (event.type === "token") {
      if (event.index < this.#tokens) return;
      this.#tokens = event.index + 1;
    }
    this.#events.push(event);
    this.#notify();
  }

  /** The turn is over: streams end after the last event. */
  end(): void {
    this.#isDone = true;
    this.#finish();
    this.#notify();
  }

  /** All events from the first one, as NDJSON. When the last reader of a turn that ends with its client goes, it ends. */
  stream(): ReadableStream<Uint8Array> {
    let read = 0;
    this.#readers++;
    return eventLines({
      next: async () => {
        while (read === this.#events.length && !this.#isDone) await this.#wake.promise;
        const piece = this.#events.slice(read, read + mostEventsAPiece);
        read += piece.length;
        return piece;
      },
      abandon: () => {
        this.#readers--;
        if (this.#endsWithClient && this.#readers === 0) this.cancel.abort();
      },
    });
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
