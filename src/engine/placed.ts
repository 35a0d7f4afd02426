// The placed engine: the edge and the origin of one checkpoint as one engine. Each turn runs where `placement` says; one
// that loses its origin goes on at the edge from what it has replied, or, where the checkpoint is not here, waits a while
// for the origin to come back. An origin keeps nothing of a turn that broke off, so nothing can be lost with it.
import { GriffinError, type ErrorCode } from "../errors.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import type { Config } from "../model/config.ts";
import { emptyState, stateLayout, type StateLayout } from "../model/state.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Manifest } from "../checkpoint/manifest.ts";
import { checkWhole, defaultMaxTokens } from "./check-turn.ts";
import type { EdgeEngine } from "./edge.ts";
import type { Engine, GeneratedToken, Turn, TurnResult } from "./engine.ts";
import type { OpenedModel } from "./opened-model.ts";
import type { OriginEngine, Prefilled } from "./origin/origin.ts";
import { formatIsElsewhere, placement, type Placement, type RanAt } from "./placement.ts";

/** A turn, and whether anybody waits for its first token. */
export interface PlacedTurn extends Turn {
  /** It is a line of a batch. */
  isBatch?: boolean;
  /** Somebody was told that it runs and does not wait for it: it waits for an origin that is away, as a reply in the making. */
  isBegun?: boolean;
}

export interface PlacedResult extends TurnResult {
  placement: RanAt;
}

export interface PlacedOptions {
  /** null where the checkpoint is not here. */
  edge: EdgeEngine | null;
  /** null where there is none. */
  origin: OriginEngine | null;
  /** Prompts of more tokens are read at the origin. */
  prefillTokens: number;
  /** Whether lines of batches run at the origin. */
  takesBatches: boolean;
  /** Told of every failure of the origin that a turn saw. */
  originFailed?: (error: GriffinError) => void;
  times?: Partial<PlacedTimes>;
}

export interface PlacedTimes {
  /** A turn that has begun, of a checkpoint that is not here, waits so long for an origin that was lost. */
  patienceMs: number;
  /** So often it looks whether the origin may be asked again. */
  pauseMs: number;
  /** So long an origin may take to read once more what a cancelled turn has replied. */
  keepMs: number;
  /** A turn at the origin that was silent for so long does not keep the edge's memory any more. */
  silenceMs: number;
}

const defaultTimes: PlacedTimes = {
  // An origin that starts anew may have programs to compile.
  patienceMs: 180_000,
  pauseMs: 500,
  keepMs: 60_000,
  // Above the time that a long prompt is read in without a token.
  silenceMs: 600_000,
};

/** So often an origin that is there may fail with a turn before it says more of it. */
const mostFailures = 3;
/** What states on their way may take of an isolate's memory, beside the models' and all else. */
const travelBytes = 16 * 2 ** 20;

type Events<Result> = AsyncGenerator<GeneratedToken, Result, undefined>;

/** Runs turns of one checkpoint at the edge and at its origin. */
export class PlacedEngine implements Engine, OpenedModel {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly chat: ChatTokens | null;
  readonly tokenizer: Tokenizer | null;
  readonly stateLayout: StateLayout;
  /** null where the checkpoint is not here. */
  readonly edge: EdgeEngine | null;
  readonly #origin: OriginEngine | null;
  readonly #options: PlacedOptions;
  readonly #times: PlacedTimes;
  /** Turns at the origin that may come back to the edge. */
  readonly #away = new Set<{ heardMs: number }>();

  constructor(options: PlacedOptions) {
    const { edge, origin } = options;
    const model = edge ?? origin;
    if (model === null) throw new GriffinError("internal", "An engine is at the edge, at an origin, or at both.");
    this.config = model.config;
    this.manifest = model.manifest;
    this.chat = model.chat;
    this.tokenizer = model.tokenizer;
    this.stateLayout = stateLayout(model.config, model.manifest.kv);
    this.edge = edge;
    this.#origin = origin;
    this.#options = options;
    this.#times = { ...defaultTimes, ...options.times };
  }

  /** True once a kernel has trapped: the engine must be replaced. */
  get isBroken(): boolean {
    return this.edge?.isBroken ?? false;
  }

  /** True while a turn needs the edge's memory, or may yet. */
  get isBusy(): boolean {
    const sinceMs = Date.now() - this.#times.silenceMs;
    return (this.edge?.isBusy ?? false) || [...this.#away].some(({ heardMs }) => heardMs > sinceMs);
  }

  /** What it takes of the edge's memory. */
  get memoryBytes(): number {
    return this.edge?.memoryBytes ?? 0;
  }

  /** Turns that may run side by side: at the edge each has a slot, on their way to an origin their states are in memory. */
  get slots(): number {
    const travelling = Math.max(Math.floor(travelBytes / this.stateLayout.totalBytes), 1);
    return this.edge?.instance.layout.slots.length ?? travelling;
  }

  /**
   * Throws `origin_away` or `origin_failed` where a turn would only be told to come again, and `unsupported` where it can
   * run nowhere. `isScored`: every token of its prompt is to be told of.
   */
  checkThere({ hasFormat = false, isScored = false } = {}): void {
    if (this.edge !== null) return;
    if (hasFormat) throw formatIsElsewhere();
    if (isScored) throw scoreIsElsewhere();
    this.#origin?.checkThere();
  }

  /** Whether a turn that is run again says the same, to the bit: what an origin has a part in, another may say otherwise. */
  isRepeatable(turn: PlacedTurn): boolean {
    return this.#origin === null || this.#placement(turn, "there") === "edge";
  }

  /**
   * As `Engine` says; a turn that ran wholly at the edge is the edge's own, bit for bit. Where the origin fails and the
   * checkpoint is not here, throws `origin_away` or `origin_failed`; also of a turn that was cancelled in the middle.
   */
  async *generate(turn: PlacedTurn, signal?: AbortSignal): Events<PlacedResult> {
    const [edge, origin] = [this.edge, this.#origin];
    const placed = this.#placement(turn);
    if (origin === null || placed === "edge") return yield* this.#here(turn, signal);

    const visit = { heardMs: Date.now() };
    if (edge !== null) this.#away.add(visit);
    try {
      if (placed === "origin_prefill" && edge !== null) return yield* this.#readThere(turn, origin, signal);
      return yield* this.#there(turn, origin, visit, signal);
    } finally {
      this.#away.delete(visit);
    }
  }

  /** As the edge's. Throws `unsupported` where the checkpoint is not here: an origin tells of a prompt's last token alone. */
  async *score(...asked: Parameters<EdgeEngine["score"]>): ReturnType<EdgeEngine["score"]> {
    if (this.edge !== null) return yield* this.edge.score(...asked);
    throw scoreIsElsewhere();
  }

  #placement(
    { tokens, format, isBatch = false }: PlacedTurn,
    whereIs: "away" | "there" = this.#origin?.awayMs ? "away" : "there",
  ): Placement {
    const { prefillTokens, takesBatches } = this.#options;
    return placement({
      isHere: this.edge !== null,
      origin: this.#origin === null ? "none" : whereIs,
      // Not what was replied before an interruption: the turn runs again where it ran.
      newTokens: tokens.length,
      prefillTokens,
      isForOrigin: isBatch && takesBatches,
      hasFormat: format !== undefined,
    });
  }

  async *#here(turn: Turn, signal?: AbortSignal): Events<PlacedResult> {
    if (this.edge === null) throw new GriffinError("internal", "A turn was to run where its checkpoint is not.");
    return { ...(yield* this.edge.generate(turn, signal)), placement: "edge" };
  }

  /** All but the last token is read at the origin; the edge reads that one, and then has its own logits to go on from. */
  async *#readThere(turn: Turn, origin: OriginEngine, signal?: AbortSignal): Events<PlacedResult> {
    const {
      tokens,
      replied = [],
      history = [],
      maxTokens = defaultMaxTokens,
      state = emptyState(this.stateLayout),
    } = turn;
    // What the edge would refuse in the end is not read at all.
    checkWhole({ ...turn, maxTokens, state }, this);
    const head = tokens.slice(0, -1);
    let read: Prefilled;
    try {
      // What was replied before is read whole, as the edge does: its caller has it already.
      const until = replied.length === 0 ? signal : later(this.#times.keepMs, signal);
      read = await origin.prefill(head, state, until, false);
    } catch (error) {
      this.#checkMayGoOn(error);
      return yield* this.#here(turn, signal);
    }
    const { state: reached, promptTokens, computedTokens } = read;
    if (promptTokens < head.length && replied.length > 0) return yield* this.#here(turn, signal);
    const isCancelled = signal?.aborted === true && replied.length === 0;
    if (promptTokens < head.length || isCancelled) {
      const nothing = { text: "", finishReason: "cancelled" as const, completionTokens: 0 };
      return { ...nothing, state: reached, promptTokens, computedTokens, placement: "origin_prefill" };
    }
    const seen = [...history, ...head].slice(-Math.max(this.config.window, 1));
    const result = yield* this.#here({ ...turn, tokens: tokens.slice(-1), state: reached, history: seen }, signal);
    return {
      ...result,
      promptTokens: promptTokens + result.promptTokens,
      computedTokens: computedTokens + result.computedTokens,
      placement: "origin_prefill",
    };
  }

  /** The whole turn at the origin, begun again with what it replied where the origin is lost: here, or there once more. */
  async *#there(
    turn: PlacedTurn,
    origin: OriginEngine,
    visit: { heardMs: number },
    signal?: AbortSignal,
  ): Events<PlacedResult> {
    const given: number[] = [];
    /** Since when the origin is lost; null while it is there. */
    let lostMs: number | null = null;
    /** How often it failed since it gave a token, though it was there. */
    let failures = 0;
    const heard = () => {
      visit.heardMs = Date.now();
      failures = 0;
    };
    for (;;) {
      // What a cancelled turn has replied is read again where it goes on, and nothing more.
      const isKept = signal?.aborted === true && given.length > 0;
      const replied = given.length > 0 ? [...given] : turn.replied;
      const again = { ...turn, replied, ...(isKept && { maxTokens: given.length }) };
      const until = isKept ? AbortSignal.timeout(this.#times.keepMs) : signal;
      const asKept = <Result extends TurnResult>(result: Result): Result =>
        isKept && result.finishReason === "length" ? { ...result, finishReason: "cancelled" } : result;
      try {
        const events = origin.generate(again, until, () => (lostMs = null));
        return { ...asKept(yield* goOn(events, given, heard)), placement: "origin" };
      } catch (error) {
        // Whatever whoever reads this makes of it is no failure of the origin.
        if (!(error instanceof Lost)) throw error;
        const { cause } = error;
        this.#checkMayGoOn(cause);
        if (signal?.aborted && given.length === 0) throw new GriffinError("cancelled", "The turn was cancelled.");
        if (this.edge === null) {
          // Whoever cancels does not wait for what was lost.
          if (isKept) throw cause;
          lostMs ??= Date.now();
          if (cause.code === "origin_failed" && ++failures >= mostFailures) throw cause;
          const isBegun = turn.isBegun || given.length > 0;
          await this.#wait(cause, origin, isBegun ? lostMs + this.#times.patienceMs : 0, signal);
          continue;
        }
        // Asked anew: it may have been cancelled since.
        if (signal?.aborted && given.length > 0 && !isKept) continue;
        const wasThere = given.length > (turn.replied?.length ?? 0);
        const result = yield* unwrapped(goOn(this.#here(again, isKept ? undefined : signal), given, heard));
        return { ...asKept(result), placement: wasThere ? "origin_then_edge" : "edge" };
      }
    }
  }

  /** Throws what is no failure of the origin. */
  #checkMayGoOn(error: unknown): asserts error is GriffinError {
    if (!isOfOrigin(error)) throw error;
    this.#options.originFailed?.(error);
  }

  /** Waits until an origin that was lost may be asked again; throws why it failed where that takes too long. */
  async #wait(error: GriffinError, origin: OriginEngine, untilMs: number, signal?: AbortSignal): Promise<void> {
    do {
      if (error.code === "body_too_large" || Date.now() >= untilMs) throw error;
      await new Promise((resolve) => void setTimeout(resolve, this.#times.pauseMs));
    } while (origin.awayMs > 0 && !signal?.aborted);
  }
}

/** What an origin may fail with: of all else the edge would say the same. */
const ofOrigins: ReadonlySet<ErrorCode> = new Set(["origin_away", "origin_failed", "body_too_large"]);

/** Whether a turn failed because its origin did. */
export const isOfOrigin = (error: unknown): error is GriffinError =>
  error instanceof GriffinError && ofOrigins.has(error.code);

const scoreIsElsewhere = () =>
  new GriffinError(
    "unsupported",
    "Log-probabilities of a prompt are not to be had of this model: it runs at an origin alone.",
  );

/** A signal that is given so much later than `signal`. */
function later(ms: number, signal?: AbortSignal): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  const late = new AbortController();
  const begin = () => void setTimeout(() => late.abort(), ms);
  if (signal.aborted) begin();
  else signal.addEventListener("abort", begin, { once: true });
  return late.signal;
}

/** Thrown through a turn by what it waits for, not by who reads it. */
class Lost extends Error {
  override readonly cause: unknown;
  constructor(cause: unknown) {
    super("The turn was lost.");
    this.cause = cause;
  }
}

/** The events of a turn that was begun with `given` as what it replied: those that come after, which are then given too. */
async function* goOn<Result extends TurnResult>(
  events: Events<Result>,
  given: number[],
  heard: () => void,
): Events<Result> {
  const known = given.length;
  let count = 0;
  try {
    for (;;) {
      const next = await events.next().catch((error: unknown) => {
        throw new Lost(error);
      });
      if (next.done) return next.value;
      if (count++ < known) continue;
      heard();
      given.push(next.value.token);
      yield next.value;
    }
  } finally {
    await events.return(undefined as never); // where the caller went away
  }
}

/** The same where nobody goes on from a loss. */
async function* unwrapped<Result extends TurnResult>(events: Events<Result>): Events<Result> {
  try {
    return yield* events;
  } catch (error) {
    throw error instanceof Lost ? error.cause : error;
  }
}
