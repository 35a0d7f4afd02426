// The origin engine: runs turns of a checkpoint at an origin, which has the same graph, weights and state, on another
// machine (origin/PROTOCOL.md). Text is spelt here; numbers, sampling and stopping are the origin's. An interrupted turn
// leaves nothing behind there: whoever has the tokens it gave may run it again, here or anywhere.
import type { OpenFile } from "../../checkpoint/load.ts";
import type { CreateHash } from "../../checkpoint/hash.ts";
import { graphFile, type Manifest } from "../../checkpoint/manifest.ts";
import { GriffinError } from "../../errors.ts";
import type { ChatTokens } from "../../model/chat-template.ts";
import type { Config } from "../../model/config.ts";
import { weightsFile } from "../../model/graph.ts";
import { emptyState, stateLayout, type State } from "../../model/state.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { checkReading, checkWhole, defaultMaxTokens } from "../check-turn.ts";
import type { Engine, GeneratedToken, Turn, TurnResult } from "../engine.ts";
import { openModel, type OpenedModel } from "../opened-model.ts";
import { createSpelling } from "../spelling.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { Connection, leftAlone, type Fetch, type OriginAddress, type OriginTimes } from "./connection.ts";
import { frameKinds, originFailed, type OriginModel } from "./protocol.ts";
import { decodeResult, resultLimitBytes, type OriginResult } from "./result-body.ts";
import { decodeTokens, type TokenNews } from "./tokens-frame.ts";
import { StateNeeded } from "./faults.ts";
import { stateName, WarmStates, type WarmState } from "./warm-states.ts";
import { encodeTurn, generateOptions, type GenerateOptions, type TurnInput } from "./turn-body.ts";

const defaultTimes: OriginTimes = {
  answerMs: 30_000,
  silenceMs: 30_000,
  // As long as an origin lets a turn take: reading a long prompt, or a reply again, gives no tokens.
  progressMs: 3_600_000,
  cancelMs: 10_000,
  endingMs: 60_000,
};

export interface OriginOptions {
  /** Where the origin is; may have a path of its own. */
  url: string;
  /** Its bearer key, where it has one. */
  key?: string;
  /** How it is reached; the runtime's own fetch unless told. */
  fetch?: Fetch;
  /** One for each origin: engines of several checkpoints share it. */
  breaker?: CircuitBreaker;
  times?: Partial<OriginTimes>;
  /** A host's faster SHA-256. */
  createHash?: CreateHash;
}

/** What an origin read. */
export type Prefilled = Pick<OriginResult, "state" | "promptTokens" | "computedTokens"> & {
  /** [V], of the last token; null when it was cancelled before, or they were not wanted. */
  logits: Float32Array<ArrayBuffer> | null;
};

/** A turn on its way, and what is made of the answer: both functions throw `origin_failed` for what cannot be. */
interface Asked<Token> {
  path: string;
  input: TurnInput;
  /** The options on the wire of the turn with this id. */
  options: (id: string) => object;
  signal?: AbortSignal;
  /** All requests of one session reach the same origin, where there are several. */
  session?: string;
  /** Whether the new state comes back. */
  hasState?: boolean;
  token: (news: TokenNews) => Token;
  check: (result: OriginResult) => void;
  heard?: () => void;
}

/** The same of a reply. */
interface Reply extends Pick<Asked<GeneratedToken>, "token" | "check" | "signal" | "heard"> {
  input: TurnInput;
  options: GenerateOptions;
}

/** Runs turns of one checkpoint at an origin. */
export class OriginEngine implements Engine, OpenedModel {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly chat: ChatTokens | null;
  readonly tokenizer: Tokenizer | null;
  readonly #model: OriginModel;
  readonly #address: OriginAddress;
  readonly #warm = new WarmStates();

  constructor({ config, manifest, chat, tokenizer }: OpenedModel, options: OriginOptions) {
    this.config = config;
    this.manifest = manifest;
    this.chat = chat;
    this.tokenizer = tokenizer;
    this.#model = {
      checkpoint: manifest.files[weightsFile].sha256,
      graph: manifest.files[graphFile].sha256,
      layout: stateLayout(config, manifest.kv),
      vocabSize: config.vocabSize,
    };
    this.#address = {
      url: options.url,
      key: options.key,
      fetch: options.fetch ?? ((url, init) => fetch(url, init)),
      breaker: options.breaker ?? new CircuitBreaker(),
      times: { ...defaultTimes, ...options.times },
    };
  }

  /** Opens a checkpoint folder, but not its weights, which only the origin needs. */
  static async open(open: OpenFile, options: OriginOptions): Promise<OriginEngine> {
    const { model } = await openModel(open, options.createHash);
    return new OriginEngine(model, options);
  }

  /** How long the origin is left alone because it failed; 0 while it may be asked. */
  get awayMs(): number {
    return this.#address.breaker.waitMs;
  }

  /** Throws `origin_away` or `origin_failed`, as a turn would, while the origin is left alone. */
  checkThere(): void {
    if (this.awayMs > 0) throw leftAlone(this.#address.breaker);
  }

  /**
   * As `Engine` says. After an abort, tokens may still come: they are in the state. `heard` is called whenever the origin
   * says anything, be it that the turn waits.
   * @throws GriffinError also `unsupported` for a turn with a format; `origin_away` when the origin is not there or full;
   *   `origin_failed` when it is lost in mid-turn, does not end a turn that was cancelled, or has another model;
   *   `body_too_large` above its limits
   */
  async *generate(
    turn: Turn,
    signal?: AbortSignal,
    heard?: () => void,
  ): AsyncGenerator<GeneratedToken, TurnResult, undefined> {
    const { maxTokens = defaultMaxTokens, state = this.#empty(), stopTokens = this.manifest.stop_token_ids } = turn;
    if (turn.format !== undefined) {
      throw new GriffinError("unsupported", "An origin holds no reply to a format: such a turn runs at the edge.");
    }
    const { config, tokenizer } = this;
    const sampling = checkWhole({ ...turn, maxTokens, state }, { config, tokenizer, stateLayout: this.#model.layout });
    const options = { ...turn, maxTokens, sampling };
    const input = { ...turn, tokens: [...turn.tokens], state };

    const spelling = createSpelling(this.tokenizer, turn.stop ?? [], stopTokens);
    const replied: number[] = [];
    let stoppedBy: number | string | undefined;
    const accept = ({ token, ...report }: TokenNews): GeneratedToken => {
      const spelt = spelling.push(token);
      replied.push(token);
      stoppedBy = spelt.stoppedBy;
      return { token, text: spelt.text, ...report };
    };
    for (const token of turn.replied ?? []) yield accept({ token });

    const token = (news: TokenNews) => {
      if (replied.length >= maxTokens) throw originFailed(`The origin replied more than ${maxTokens} tokens.`);
      return accept(news);
    };
    const check = ({ completionTokens, stoppedBy: saidStoppedBy, finishReason }: OriginResult) => {
      const isLong = finishReason !== "length" || replied.length === maxTokens;
      if (completionTokens === replied.length && saidStoppedBy === stoppedBy && isLong) return;
      const said = `${completionTokens} tokens, ${finishReason}, stopped by ${saidStoppedBy}`;
      throw originFailed(
        `The origin says of its reply: ${said}; it has ${replied.length} of ${maxTokens}, stopped by ${stoppedBy}.`,
      );
    };
    const result = yield* this.#generated({ input, options, token, check, signal, heard });
    const { logits: _, fingerprint: __, ...rest } = result;
    return { ...rest, text: spelling.end() };
  }

  /**
   * Reads tokens after `state`, at most as many as the origin's limit. Aborting `signal` ends it after the step that runs:
   * the state's position says how much was read.
   * @throws GriffinError as `generate`
   */
  async prefill(
    tokens: readonly number[],
    state: State = this.#empty(),
    signal?: AbortSignal,
    wantsLogits = true,
  ): Promise<Prefilled> {
    checkReading(tokens, 0, state, { config: this.config, stateLayout: this.#model.layout });
    const turn = this.#turn<never>({
      path: "/v1/prefill",
      input: { tokens, state },
      options: (id) => ({ id, logits: wantsLogits }),
      signal,
      token() {
        throw originFailed("The origin sent tokens where none were asked for.");
      },
      check({ logits, promptTokens }) {
        const hasLogits = logits !== undefined || !wantsLogits || promptTokens < tokens.length;
        if (!hasLogits) throw originFailed("The origin's result has no logits.");
      },
    });
    const { state: after, logits = null, promptTokens, computedTokens } = (await turn.next()).value;
    return { state: after, logits, promptTokens, computedTokens };
  }

  /** The reply, from the state that the origin kept, where it has it still. */
  async *#generated({ input, options, ...asked }: Reply): AsyncGenerator<GeneratedToken, OriginResult, undefined> {
    const name = input.state.position > 0 ? await stateName(input.state) : null;
    let warm = name === null ? undefined : this.#warm.take(name);
    for (;;) {
      const key = warm?.key ?? crypto.randomUUID();
      const wire = { ...(!options.isLast && { keep: key }), ...(warm && { warm }) };
      const turn = this.#turn({
        ...asked,
        path: "/v1/generate",
        input: { ...input, isWarm: warm !== undefined },
        options: (id) => ({ ...generateOptions(id, options), ...wire }),
        session: key,
        hasState: !options.isLast,
      });
      try {
        const result = yield* turn;
        if (result.fingerprint !== undefined) await this.#remember(result.state, key, result.fingerprint);
        return result;
      } catch (error) {
        if (warm === undefined || !(error instanceof StateNeeded)) throw error;
        warm = undefined;
      }
    }
  }

  async #remember(state: State, key: string, fingerprint: string): Promise<void> {
    const warm: WarmState = { key, position: state.position, fingerprint };
    this.#warm.add(await stateName(state), warm);
  }

  /** What the tokens of a turn become, and its result. */
  async *#turn<Token>(asked: Asked<Token>): AsyncGenerator<Token, OriginResult, undefined> {
    const { path, input, signal, session, hasState = true } = asked;
    if (signal?.aborted) throw cancelled();
    const connection = new Connection(this.#address, session);
    const cancel = () => void connection.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      const body = encodeTurn(input, asked.options(connection.id), this.#model);
      for await (const { kind, payload } of connection.frames(path, body, resultLimitBytes(this.#model))) {
        asked.heard?.();
        if (kind === frameKinds.tokens) {
          const news = connection.believed(() => decodeTokens(payload, this.#model.vocabSize));
          for (const each of news) yield connection.believed(() => asked.token(each));
        } else if (kind === frameKinds.result) {
          return connection.believed(() => {
            const result = decodeResult(payload, this.#model, hasState);
            checkResult(result, input, signal?.aborted ?? false);
            asked.check(result);
            return result;
          });
        }
      }
      throw new GriffinError("internal", "A connection to the origin ended without a result.");
    } finally {
      signal?.removeEventListener("abort", cancel);
      connection.close();
    }
  }

  #empty(): State {
    return emptyState(this.#model.layout);
  }
}

/** Refuses a result that says of the turn what cannot be. */
function checkResult(result: OriginResult, { tokens, state }: TurnInput, isCancelled: boolean): void {
  const { promptTokens, completionTokens, finishReason, state: after } = result;
  if (finishReason === "cancelled" && !isCancelled) {
    throw originFailed("The origin says that the turn was cancelled; nobody did that.");
  }
  const isRead = promptTokens === tokens.length || (promptTokens < tokens.length && finishReason === "cancelled");
  const hasRead = after.position - state.position;
  if (isRead && hasRead === promptTokens + completionTokens) return;
  throw originFailed(
    `The origin says that it read ${promptTokens} of ${tokens.length} tokens and generated ${completionTokens}, but its state has ${hasRead} more.`,
  );
}

const cancelled = () => new GriffinError("cancelled", "The turn was cancelled before it began.");
