// The placed engine: the edge and the origin of one checkpoint as one engine. Each turn runs where `placement` says; one
// that loses its origin goes on at the edge from what it has replied, or, where the checkpoint is not here, waits a while
// for the origin to come back. An origin keeps nothing of a turn that broke off, so nothing can be lost with it.
import { GriffinError, type ErrorCode } from "../errors.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import type { Config } from "../model/config.ts";
import { stateLayout, type StateLayout } from "../model/state.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Manifest } from "../checkpoint/manifest.ts";
import type { EdgeEngine } from "./edge.ts";
import type { Engine, GeneratedToken, Turn, TurnResult } from "./engine.ts";
import type { OpenedModel } from "./opened-model.ts";
import type { OriginEngine, Prefilled } from "./origin/origin.ts";
import { formatIsElsewhere, placement, type Placement, type RanAt } from "./placement.ts";

/** A turn, and whether anybody waits for its first token. */
export interface PlacedTurn extends Turn {
  /** It is a line of a batch. */
  isBatch?: boolean;
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
  /** A reply that has begun, of a checkpoint that is not here, waits so long for an origin that was lost. */
  patienceMs: number;
  /** So often it looks whether the origin may be asked again. */
  pauseMs: number;
  /** So long an origin may take to read once more what a cancelled turn has replied. */
  keepMs: number;
  /** An origin that has another model is not asked again for so long. */
  strangerMs: number;
  /** A turn at the origin that was silent for so long does not keep the edge's memory any more. */
  silenceMs: number;
}

const defaultTimes: PlacedTimes = {
  patienceMs: 60_000,
  pauseMs: 500,
  keepMs: 60_000,
  strangerMs: 60_000,
  // Above the time that a long prompt is read in without a token.
  silenceMs: 600_000,
};

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
  #strangerUntilMs = 0;

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

  /** Turns that run side by side; null where that is not for the edge to say. */
  get slots(): number | null {
    return this.edge?.instance.layout.slots.length ?? null;
  }

  /** Throws `origin_failed` where a turn would only be told to come again, and `unsupported` where it can run nowhere. */
  checkThere(hasFormat = false): void {
    const waitMs = this.#origin?.awayMs ?? 0;
    if (this.edge !== null) return;
    if (hasFormat) throw formatIsElsewhere();
    if (waitMs === 0) return;
    throw new GriffinError(
      "origin_failed",
      `This model runs at an origin, which is away; it is asked again in ${Math.ceil(waitMs / 1000)} s.`,
    );
  }

  /**
   * As `Engine` says; a turn that ran wholly at the edge is the edge's own, bit for bit. Where the origin fails and the
   * checkpoint is not here, throws `origin_failed`.
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
    throw new GriffinError(
      "unsupported",
      "Log-probabilities of a prompt are not to be had of this model: it runs at an origin alone.",
    );
  }

  #placement({ tokens, format, isBatch = false }: PlacedTurn): Placement {
    const { prefillTokens, takesBatches } = this.#options;
    const isAway = (this.#origin?.awayMs ?? 0) > 0 || this.#strangerUntilMs > Date.now();
    return placement({
      isHere: this.edge !== null,
      origin: this.#origin === null ? "none" : isAway ? "away" : "there",
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
    const { tokens, replied = [], history = [] } = turn;
    const head = tokens.slice(0, -1);
    let read: Prefilled;
    try {
      // What was replied before is read whole, as the edge does: its caller has it already.
      read = await origin.prefill(head, turn.state, replied.length === 0 ? signal : undefined, false);
    } catch (error) {
      this.#checkMayGoOn(error);
      return yield* this.#here(turn, signal);
    }
    const { state, promptTokens, computedTokens } = read;
    const isCancelled = signal?.aborted === true && replied.length === 0;
    if (promptTokens < head.length || isCancelled) {
      const nothing = { text: "", finishReason: "cancelled" as const, completionTokens: 0 };
      return { ...nothing, state, promptTokens, computedTokens, placement: "origin_prefill" };
    }
    const seen = [...history, ...head].slice(-Math.max(this.config.window, 1));
    const result = yield* this.#here({ ...turn, tokens: tokens.slice(-1), state, history: seen }, signal);
    return {
      ...result,
      promptTokens: promptTokens + result.promptTokens,
      computedTokens: computedTokens + result.computedTokens,
      placement: "origin_prefill",
    };
  }

  /** The whole turn at the origin, begun again with what it replied where the origin is lost: here, or there once more. */
  async *#there(
    turn: Turn,
    origin: OriginEngine,
    visit: { heardMs: number },
    signal?: AbortSignal,
  ): Events<PlacedResult> {
    const given: number[] = [];
    /** Since when the origin is lost; null while it is heard. */
    let lostMs: number | null = null;
    const heard = () => {
      visit.heardMs = Date.now();
      lostMs = null;
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
        return { ...asKept(yield* goOn(origin.generate(again, until), given, heard)), placement: "origin" };
      } catch (error) {
        // Whatever whoever reads this makes of it is no failure of the origin.
        if (!(error instanceof Lost)) throw error;
        const { cause } = error;
        this.#checkMayGoOn(cause);
        if (this.edge === null) {
          lostMs ??= Date.now();
          await this.#wait(cause, origin, given.length > 0 ? lostMs + this.#times.patienceMs : 0, signal);
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
    if (!(error instanceof GriffinError) || !ofOrigins.has(error.code)) throw error;
    if (error.code === "hash_mismatch") this.#strangerUntilMs = Date.now() + this.#times.strangerMs;
    this.#options.originFailed?.(error);
  }

  /** Waits until an origin that was lost may be asked again; throws why it failed where that takes too long. */
  async #wait(error: GriffinError, origin: OriginEngine, untilMs: number, signal?: AbortSignal): Promise<void> {
    do {
      if (error.code !== "origin_failed" || Date.now() >= untilMs) throw error;
      await new Promise((resolve) => void setTimeout(resolve, this.#times.pauseMs));
    } while (origin.awayMs > 0 && !signal?.aborted);
  }
}

/** What an origin may fail with: of all else the edge would say the same. */
const ofOrigins: ReadonlySet<ErrorCode> = new Set(["origin_failed", "hash_mismatch", "body_too_large"]);

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
