// The edge engine: runs turns on a WASM instance in this process. Text, sampling and stopping are here; numbers are
// Instance's. Several turns may run at once: each has a slot, and they take turns token by token, chunk by chunk.
import type { OpenFile } from "../checkpoint/load.ts";
import type { CreateHash } from "../checkpoint/hash.ts";
import type { Manifest } from "../checkpoint/manifest.ts";
import { GriffinError } from "../errors.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import type { Config } from "../model/config.ts";
import { emptyState, type State } from "../model/state.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { checkReading, checkTurn, defaultMaxTokens, type TurnModel } from "./check-turn.ts";
import type { Rows } from "./demand.ts";
import type { Engine, GeneratedToken, Turn, TurnResult } from "./engine.ts";
import { Instance, type InstanceOptions } from "./instance.ts";
import { openModel, type OpenedModel } from "./opened-model.ts";
import { pause } from "./pause.ts";
import { createReply } from "./reply.ts";
import { createSlots, type Lease, type Slots } from "./slots.ts";

const brokenMessage = "A kernel failed: this engine cannot be used any more.";

/** Multiplications between two pauses of a turn that is alone: 15 ms of one core in int8, 60 in f32. A pause costs 1.5 ms. */
const workPerPause = 200_000_000;

export type { OpenFile };

export interface EdgeOptions extends InstanceOptions {
  /** A host's faster SHA-256. */
  createHash?: CreateHash;
  /** Called whenever something of the checkpoint's files came. */
  heard?: () => void;
}

/** Runs turns of one checkpoint on WASM kernels. */
export class EdgeEngine implements Engine, OpenedModel {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly chat: ChatTokens | null;
  readonly tokenizer: Tokenizer | null;
  readonly instance: Instance;
  readonly #slots: Slots;
  #isBroken = false;
  #workSincePause = 0;

  constructor({ config, manifest, chat, tokenizer }: OpenedModel, instance: Instance) {
    this.config = config;
    this.manifest = manifest;
    this.chat = chat;
    this.tokenizer = tokenizer;
    this.instance = instance;
    this.#slots = createSlots(instance.layout.slots, (slotPtr) => instance.clear(slotPtr));
  }

  /** Loads a checkpoint into a new instance of griffin.wasm. */
  static async load(module: WebAssembly.Module, open: OpenFile, options: EdgeOptions = {}): Promise<EdgeEngine> {
    const { checkpoint, model } = await openModel(open, options.createHash, options.heard);
    return new EdgeEngine(model, await Instance.load(module, checkpoint, options));
  }

  /** Lets go of what is not memory: threads, where it has a team. No turn may follow. */
  close(): Promise<void> {
    return this.instance.close();
  }

  /** True once a kernel has trapped: what WASM memory holds is unknown, so the engine must be replaced. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** True while a turn has or wants a slot. */
  get isBusy(): boolean {
    return this.#slots.isBusy();
  }

  /** What it takes of memory. */
  get memoryBytes(): number {
    return this.instance.layout.totalBytes;
  }

  get #model(): TurnModel {
    return { config: this.config, stateLayout: this.instance.stateLayout };
  }

  async *generate(turn: Turn, signal?: AbortSignal): AsyncGenerator<GeneratedToken, TurnResult, undefined> {
    const { maxTokens = defaultMaxTokens, state = emptyState(this.instance.stateLayout), replied = [] } = turn;
    checkTurn({ ...turn, maxTokens, state }, this.#model);
    const reply = createReply({ ...turn, maxTokens }, this.config, this.manifest.stop_token_ids, this.tokenizer);
    const tokens = [...turn.tokens, ...replied];
    for (const token of replied) yield reply.accept(token);

    // What was replied before is read whole, or the state would lack what the caller has been given.
    const early = replied.length === 0 ? signal : undefined;
    const lease = await this.#slots.acquire(early);
    try {
      this.instance.restore(lease.slotPtr, state);
      let { position } = state;
      const forward = (chunk: number[], logits: Rows) => {
        const rows = this.#forward(lease, chunk, position, logits);
        position += chunk.length;
        return rows;
      };
      let next: GeneratedToken | undefined;
      let read = 0;
      while (read < tokens.length && !early?.aborted) {
        const chunk = tokens.slice(read, read + this.instance.chunkTokens);
        read += chunk.length;
        const goesOn = read === tokens.length && !reply.ended;
        const logits = forward(chunk, goesOn ? "last" : "none");
        // Sampled before the pause: the logits lie in memory that all turns share.
        if (goesOn) next = reply.next(logits, position);
        await this.#letOthersIn(chunk.length);
      }
      let isFirst = true;
      while (next !== undefined) {
        yield next;
        const goesOn = !reply.ended && !signal?.aborted;
        const logits = forward([next.token], goesOn ? "last" : "none");
        next = goesOn ? reply.next(logits, position) : undefined;
        // The reader of the first token is waiting for it.
        await this.#letOthersIn(1, isFirst);
        isFirst = false;
      }
      const result = {
        ...reply.end(),
        state: this.#save(lease, position),
        promptTokens: Math.min(read, turn.tokens.length),
        computedTokens: position - state.position,
      };
      return read < tokens.length ? { ...result, finishReason: "cancelled" } : result;
    } finally {
      lease.release();
    }
  }

  /**
   * Reads tokens and yields the logits of every one, [n, V] for each chunk of n; returns the new state. Chunks have
   * `chunkTokens` tokens, the instance's `logitsTokens` unless told, and the last one what is left. Whoever does not read
   * to the end calls `return()`.
   * @throws GriffinError `invalid_argument` for longer chunks than `logitsTokens`, `cancelled` once `signal` is aborted
   */
  async *score(
    tokens: readonly number[],
    options: { state?: State; chunkTokens?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Float32Array, State, undefined> {
    const { signal, state = emptyState(this.instance.stateLayout), chunkTokens = this.instance.logitsTokens } = options;
    checkReading(tokens, 0, state, this.#model);
    if (!Number.isSafeInteger(chunkTokens) || chunkTokens < 1)
      throw invalid(`chunkTokens must be 1 or more, got ${chunkTokens}.`);
    const copied = [...tokens]; // the caller's array may change while others run
    const lease = await this.#slots.acquire(signal);
    try {
      this.instance.restore(lease.slotPtr, state);
      for (let read = 0; read < copied.length; read += chunkTokens) {
        if (signal?.aborted) throw new GriffinError("cancelled", "The tokens were not read to their end.");
        const chunk = copied.slice(read, read + chunkTokens);
        yield this.#forward(lease, chunk, state.position + read, "all").slice();
        await this.#letOthersIn(chunk.length);
      }
      return this.#save(lease, state.position + copied.length);
    } finally {
      lease.release();
    }
  }

  #forward(lease: Lease, tokens: number[], position: number, logits: Rows): Float32Array {
    this.#checkHeld(lease);
    try {
      return this.instance.forward(lease.slotPtr, tokens, position, logits);
    } catch (cause) {
      if (!(cause instanceof WebAssembly.RuntimeError)) throw cause;
      this.#isBroken = true;
      throw new GriffinError("internal", brokenMessage, { cause });
    }
  }

  /**
   * Other turns run after every pass. A turn that is alone pauses for requests that may have come, which costs a
   * millisecond and more in workerd, only when it has worked for some: counted, because clocks stand still meanwhile.
   */
  async #letOthersIn(tokens: number, isUrgent = false): Promise<void> {
    this.#workSincePause += tokens * this.manifest.parameters;
    if (this.#workSincePause < workPerPause && !isUrgent && !this.#slots.isShared()) return;
    this.#workSincePause = 0;
    await pause();
  }

  #save(lease: Lease, position: number): State {
    this.#checkHeld(lease);
    return this.instance.save(lease.slotPtr, position);
  }

  /** A kernel that traps may leave anything anywhere: no turn goes on in that memory, or keeps a state from it. */
  #checkHeld(lease: Lease): void {
    lease.renew();
    if (this.#isBroken) throw new GriffinError("internal", brokenMessage);
  }
}

const invalid = (message: string) => new GriffinError("invalid_argument", message);
