// The log of a reply in the making, and what of it may be passed on. Tokens are written down now and then: a process that
// dies loses none that would not come again. What might come otherwise, for an origin has a part in it, nobody sees before
// it is written down.
import type { Store } from "./store.ts";
import type { TokenLogProbabilities, TurnRow } from "./turns.ts";

/** Tokens are logged when this much time has passed since the last time, or this many have come. */
const logEveryMs = 300;
const logEveryTokens = 256;
/** The same where readers wait for it. */
const heldMs = 100;

/** What a log is told of: events of tokens, by their places in the reply. */
interface Indexed {
  index: number;
}

export interface ReplyLogOptions<Event> {
  store: Pick<Store, "openLog" | "appendLog" | "synced">;
  turn: Pick<TurnRow, "turn" | "options">;
  /** A u32 that names the model. */
  mark: number;
  /** Whether events wait until their tokens are written down. */
  isHeld: boolean;
  /** Where events go. */
  pass: (event: Event) => void;
}

export class ReplyLog<Event extends Indexed> {
  /** What was replied before the turn was interrupted. */
  readonly replied: readonly number[];
  readonly #reports: readonly TokenLogProbabilities[];
  readonly #options: ReplyLogOptions<Event>;
  #count = 0;
  #unlogged: number[] = [];
  #unloggedReports: TokenLogProbabilities[] = [];
  /** So many tokens outlive this process. */
  #safeCount: number;
  #held: Event[] = [];
  #loggedMs = Date.now();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failure: { error: unknown } | undefined;
  #isClosed = false;

  constructor(options: ReplyLogOptions<Event>) {
    const { store, turn, mark } = options;
    const logged = store.openLog(turn.turn, mark, turn.options.topLogProbabilities !== null);
    this.#options = options;
    this.replied = logged.tokens;
    this.#reports = logged.logProbabilities;
    this.#safeCount = logged.tokens.length;
    // The first token waits for nothing but its own row.
    if (options.isHeld) this.#loggedMs = 0;
  }

  /** Takes the next token of the reply, and says what is told of it: of one that came before, what was told then. */
  add(token: number, report: TokenLogProbabilities | undefined): TokenLogProbabilities | undefined {
    if (this.#failure !== undefined) throw this.#failure.error;
    const at = this.#count++;
    if (at < this.replied.length) return this.#reports[at];
    this.#unlogged.push(token);
    if (report !== undefined) this.#unloggedReports.push(report);
    const isDue = this.#unlogged.length >= logEveryTokens || Date.now() - this.#loggedMs >= logEveryMs;
    if (this.#options.isHeld) this.#timer ??= setTimeout(() => void this.#writeSafely(), this.#waitMs);
    else if (isDue) this.#write();
    return report;
  }

  /** Lets readers have an event, when they may. */
  pass(event: Event): void {
    if (!this.#options.isHeld || event.index < this.#safeCount) this.#options.pass(event);
    else this.#held.push(event);
  }

  /** The reply was written as a whole: as soon as that outlives this process, readers may have all of it. */
  async end(): Promise<void> {
    this.close();
    if (this.#held.length > 0) await this.#options.store.synced();
    this.#release(Infinity);
  }

  /** Writes no more, and passes nothing on. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  get #waitMs(): number {
    return Math.max(0, this.#loggedMs + heldMs - Date.now());
  }

  #write(): void {
    const { store, turn, mark } = this.#options;
    store.appendLog(turn.turn, mark, this.#unlogged, this.#unloggedReports);
    this.#unlogged = [];
    this.#unloggedReports = [];
    this.#loggedMs = Date.now();
  }

  async #writeSafely(): Promise<void> {
    this.#timer = undefined;
    const count = this.#count;
    try {
      this.#write();
      await this.#options.store.synced();
      if (!this.#isClosed) this.#release(count);
    } catch (error) {
      this.#failure = { error };
    }
  }

  #release(safeCount: number): void {
    this.#safeCount = Math.max(this.#safeCount, safeCount);
    const held = this.#held;
    this.#held = [];
    for (const event of held) this.pass(event);
  }
}
