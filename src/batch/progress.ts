// Progress: which lines of a batch have their result, in memory. The object reads it back from its results when it wakes.
import type { Stretch } from "./plan.ts";
import type { Counts, ResultKind } from "./protocol.ts";

export class Progress {
  readonly stretches: readonly Stretch[];
  /** By line, whether it has its result. */
  readonly #done: Uint8Array;
  #completed = 0;
  #failed = 0;
  /** All stretches before it are done. */
  #firstOpen = 0;

  constructor(total: number, stretches: readonly Stretch[]) {
    this.stretches = stretches;
    this.#done = new Uint8Array(total);
  }

  get counts(): Counts {
    return { total: this.#done.length, completed: this.#completed, failed: this.#failed };
  }

  get isWhole(): boolean {
    return this.#completed + this.#failed === this.#done.length;
  }

  isDone(line: number): boolean {
    return this.#done[line] !== 0;
  }

  /** A line has its result, which it did not have before. */
  settle(line: number, kind: ResultKind): void {
    this.#done[line] = 1;
    if (kind === "output") this.#completed++;
    else this.#failed++;
  }

  /** Lines of a stretch that have no result; none where there is no such stretch. */
  left(stretch: number): number[] {
    const { firstLine = 0, lineCount = 0 } = this.stretches[stretch] ?? {};
    return Array.from({ length: lineCount }, (_, i) => firstLine + i).filter((line) => !this.isDone(line));
  }

  /** The stretch that a line is in. */
  stretchOf(line: number): number {
    return this.stretches.findLastIndex(({ firstLine }) => firstLine <= line);
  }

  /** Stretches that have lines without a result, in order, but for these. */
  *unfinished(but: ReadonlySet<number>): Generator<number> {
    const { length } = this.stretches;
    while (this.#firstOpen < length && this.left(this.#firstOpen).length === 0) this.#firstOpen++;
    for (let stretch = this.#firstOpen; stretch < length; stretch++) {
      if (!but.has(stretch) && this.left(stretch).length > 0) yield stretch;
    }
  }
}
