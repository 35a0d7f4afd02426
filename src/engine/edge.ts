// The edge engine: runs turns on a WASM instance in this process. Text, sampling and stopping are here; numbers are
// Instance's. Several turns may run at once: each has a slot, and they take turns token by token, chunk by chunk.
import { openCheckpoint, type OpenFile } from "../checkpoint/load.ts";
import type { CreateHash } from "../checkpoint/hash.ts";
import type { Manifest } from "../checkpoint/manifest.ts";
import { GriffinError } from "../errors.ts";
import type { ChatTokens } from "../model/chat-template.ts";
import type { Config } from "../model/config.ts";
import { checkState, emptyState, maxPosition, type State } from "../model/state.ts";
import { checkPrompt, checkTokens } from "../model/tokens.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import type { Engine, GeneratedToken, Turn, TurnResult } from "./engine.ts";
import { Instance, type InstanceOptions } from "./instance.ts";
import { pause } from "./pause.ts";
import { createReply } from "./reply.ts";
import { createSlots, type Slots } from "./slots.ts";

/** A reply is never endless, whoever asked for it. */
const defaultMaxTokens = 1024;

export interface EdgeOptions extends InstanceOptions {
  /** A host's faster SHA-256. */
  createHash?: CreateHash;
}

/** Runs turns of one checkpoint on WASM kernels. */
export class EdgeEngine implements Engine {
  readonly config: Config;
  readonly manifest: Manifest;
  /** null where the checkpoint has no chat tokens. */
  readonly chat: ChatTokens | null;
  /** null where the checkpoint has no tokenizer: then turns have tokens but no text. */
  readonly tokenizer: Tokenizer | null;
  readonly instance: Instance;
  readonly #slots: Slots;

  private constructor(checkpoint: Pick<EdgeEngine, "config" | "manifest" | "chat" | "tokenizer">, instance: Instance) {
    this.config = checkpoint.config;
    this.manifest = checkpoint.manifest;
    this.chat = checkpoint.chat;
    this.tokenizer = checkpoint.tokenizer;
    this.instance = instance;
    this.#slots = createSlots(instance.layout.slots);
  }

  /** Loads a checkpoint into a new instance of griffin.wasm. */
  static async load(module: WebAssembly.Module, open: OpenFile, options: EdgeOptions = {}): Promise<EdgeEngine> {
    const checkpoint = await openCheckpoint(open, options.createHash);
    const tokenizer = checkpoint.tokenizer === null ? null : new Tokenizer(checkpoint.tokenizer);
    return new EdgeEngine({ ...checkpoint, tokenizer }, await Instance.load(module, checkpoint, options));
  }

  async *generate(turn: Turn, signal?: AbortSignal): AsyncGenerator<GeneratedToken, TurnResult, undefined> {
    const { tokens, maxTokens = defaultMaxTokens, state = emptyState(this.instance.stateLayout) } = turn;
    this.#check(tokens, maxTokens, state);
    checkTokens("history", turn.history ?? [], this.config.vocabSize);
    const reply = createReply({ ...turn, maxTokens }, this.config, this.manifest.stop_token_ids, this.tokenizer);

    const slotPtr = await this.#slots.acquire(signal);
    try {
      this.instance.restore(slotPtr, state);
      let { position } = state;
      let next: GeneratedToken | undefined;
      let read = 0;
      while (read < tokens.length && !signal?.aborted) {
        const chunk = tokens.slice(read, read + this.instance.chunkTokens);
        read += chunk.length;
        const replies = read === tokens.length && maxTokens > 0;
        const logits = this.instance.forward(slotPtr, chunk, position, replies ? "last" : "none");
        position += chunk.length;
        // Sampled before the pause: the logits lie in memory that all turns share.
        if (replies) next = reply.next(logits, position);
        await pause();
      }
      while (next !== undefined) {
        yield next;
        const goesOn = !reply.ended && !signal?.aborted;
        const logits = this.instance.forward(slotPtr, [next.token], position, goesOn ? "last" : "none");
        position += 1;
        next = goesOn ? reply.next(logits, position) : undefined;
        await pause();
      }
      const result = { ...reply.end(), state: this.instance.save(slotPtr, position), promptTokens: read };
      return read < tokens.length ? { ...result, finishReason: "cancelled" } : result;
    } finally {
      this.instance.clear(slotPtr);
      this.#slots.release(slotPtr);
    }
  }

  /**
   * Reads tokens and yields the logits of every one, [n, V] for each chunk of n; returns the new state. A chunk has at
   * most `chunkTokens` tokens, and no more than the instance's `logitsTokens`.
   */
  async *score(
    tokens: readonly number[],
    options: { state?: State; chunkTokens?: number } = {},
  ): AsyncGenerator<Float32Array, State, undefined> {
    const { state = emptyState(this.instance.stateLayout), chunkTokens = this.instance.logitsTokens } = options;
    this.#check(tokens, 0, state);
    if (!Number.isSafeInteger(chunkTokens) || chunkTokens < 1)
      throw invalid(`chunkTokens must be 1 or more, got ${chunkTokens}.`);
    const slotPtr = await this.#slots.acquire();
    try {
      this.instance.restore(slotPtr, state);
      for (let read = 0; read < tokens.length; read += chunkTokens) {
        yield this.instance
          .forward(slotPtr, tokens.slice(read, read + chunkTokens), state.position + read, "all")
          .slice();
        await pause();
      }
      return this.instance.save(slotPtr, state.position + tokens.length);
    } finally {
      this.instance.clear(slotPtr);
      this.#slots.release(slotPtr);
    }
  }

  #check(tokens: readonly number[], maxTokens: number, state: State): void {
    checkPrompt(tokens, this.config.vocabSize);
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 0)
      throw invalid(`maxTokens must be 0 or more, got ${maxTokens}.`);
    checkState(this.instance.stateLayout, state);
    const end = state.position + tokens.length + maxTokens;
    if (end > maxPosition)
      throw invalid(`The conversation would reach position ${end}; the last one is ${maxPosition}.`);
  }
}

const invalid = (message: string) => new GriffinError("invalid_argument", message);
