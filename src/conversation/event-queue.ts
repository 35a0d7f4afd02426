// Events on their way from work that runs at its own speed to the one who reads them.
import { mostEventsAPiece } from "./event-lines.ts";

export class EventQueue<Event> {
  readonly #events: Event[] = [];
  #isEnded = false;
  #wake = Promise.withResolvers<void>();

  add(event: Event): void {
    this.#events.push(event);
    this.#notify();
  }

  /** No event comes after those that were added. */
  end(): void {
    this.#isEnded = true;
    this.#notify();
  }

  /** The next events, at most `mostEventsAPiece`, when there are some; none after the last one. */
  async next(): Promise<Event[]> {
    while (this.#events.length === 0 && !this.#isEnded) await this.#wake.promise;
    return this.#events.splice(0, mostEventsAPiece);
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
