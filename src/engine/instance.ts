// Instance: one WASM instance with a model in it: its weights, its slots of state and the plans made so far.
// It knows tokens, positions and slots; it knows nothing of text, sampling or turns.
import type { Checkpoint } from "../checkpoint/load.ts";
import { GriffinError } from "../errors.ts";
import { readGraph } from "../model/graph.ts";
import { decodeModel } from "../model/onnx.ts";
import { checkState, emptyState, stateLayout, type State, type StateLayout } from "../model/state.ts";
import type { Rows } from "./demand.ts";
import { execute } from "./execute.ts";
import { instantiateKernels, type Kernels } from "./kernels.ts";
import { clearSlot, layoutMemory, reserve, restoreState, saveState, type MemoryLayout } from "./memory.ts";
import { buildPlan, schedule, type Plan } from "./plan.ts";
import { stagingBytes, storeWeights } from "./weights.ts";

export interface InstanceOptions {
  /** Conversations that can be in a turn at once; 1 unless told. */
  slots?: number;
  /** The most tokens one pass reads; a prompt is read in chunks of this size. 64 unless told. */
  chunkTokens?: number;
  /** The most tokens whose logits one pass computes, besides the last one's; 1 unless told. */
  logitsTokens?: number;
  /** Refuse models that need more memory than this. */
  memoryLimitBytes?: number;
}

const defaultChunkTokens = 64;

/** A model in WASM memory. */
export class Instance {
  readonly vocabSize: number;
  readonly chunkTokens: number;
  readonly logitsTokens: number;
  readonly layout: MemoryLayout;
  readonly stateLayout: StateLayout;
  readonly #kernels: Kernels;
  readonly #planFor: (tokens: number, logits: Rows, slotPtr: number) => Plan;

  private constructor(kernels: Kernels, checkpoint: Checkpoint, options: InstanceOptions) {
    const { config, manifest } = checkpoint;
    const graph = readGraph(decodeModel(checkpoint.graph));
    this.#kernels = kernels;
    this.vocabSize = config.vocabSize;
    this.chunkTokens = atLeastOne("chunkTokens", options.chunkTokens ?? defaultChunkTokens);
    this.logitsTokens = Math.min(atLeastOne("logitsTokens", options.logitsTokens ?? 1), this.chunkTokens);
    this.stateLayout = stateLayout(config, manifest.kv);

    const memoryOptions = {
      heapBase: kernels.heap_base(),
      slots: atLeastOne("slots", options.slots ?? 1),
      chunkTokens: this.chunkTokens,
      limitBytes: options.memoryLimitBytes,
    };
    const unlimited = { ...memoryOptions, limitBytes: undefined, arenaBytes: 0 };
    const arenaBytes = Math.max(
      schedule(graph, kernels, this.chunkTokens, "last").arenaBytes,
      schedule(graph, kernels, this.logitsTokens, "all").arenaBytes,
      stagingBytes(layoutMemory(graph, this.stateLayout, unlimited).weights.values()),
    );
    this.layout = layoutMemory(graph, this.stateLayout, { ...memoryOptions, arenaBytes });

    const plans = new Map<string, Plan>();
    this.#planFor = (tokens, logits, slotPtr) => {
      const key = `${tokens} ${logits} ${slotPtr}`;
      const known = plans.get(key);
      if (known !== undefined) return known;
      const plan = buildPlan(schedule(graph, kernels, tokens, logits), this.layout, slotPtr);
      plans.set(key, plan);
      return plan;
    };
  }

  /** Lays out memory for a checkpoint without loading its weights: enough to look at plans. */
  static async prepare(
    module: WebAssembly.Module,
    checkpoint: Checkpoint,
    options: InstanceOptions = {},
  ): Promise<Instance> {
    return new Instance(await instantiateKernels(module), checkpoint, options);
  }

  /** A model ready to run. Throws `model_too_large` before any weight is read. */
  static async load(
    module: WebAssembly.Module,
    checkpoint: Checkpoint,
    options: InstanceOptions = {},
  ): Promise<Instance> {
    const instance = await Instance.prepare(module, checkpoint, options);
    reserve(instance.#kernels.memory, instance.layout.totalBytes);
    await storeWeights(instance.#kernels, instance.layout.weights, checkpoint.weights(), instance.layout.arenaPtr);
    return instance;
  }

  /** The plan for this many tokens in a slot. */
  plan(tokens: number, logits: Rows, slotPtr: number): Plan {
    return this.#planFor(tokens, logits, slotPtr);
  }

  /**
   * Reads tokens into a slot's state, the first at `position`. Returns the logits asked for, [rows, V]: a view of WASM
   * memory that the next call overwrites.
   */
  forward(slotPtr: number, tokens: readonly number[], position: number, logits: Rows): Float32Array {
    const most = logits === "all" ? this.logitsTokens : this.chunkTokens;
    if (tokens.length < 1 || tokens.length > most) {
      throw new GriffinError("invalid_argument", `One pass reads 1 to ${most} tokens, got ${tokens.length}.`);
    }
    const plan = this.plan(tokens.length, logits, slotPtr);
    const { buffer } = this.#kernels.memory;
    new Int32Array(buffer, plan.tokensPtr, tokens.length).set(tokens);
    new Int32Array(buffer, plan.posPtr, tokens.length).forEach((_, i, pos) => (pos[i] = position + i));
    execute(this.#kernels, plan);
    const rows = logits === "all" ? tokens.length : logits === "last" ? 1 : 0;
    return new Float32Array(buffer, plan.logitsPtr, rows * this.vocabSize);
  }

  restore(slotPtr: number, state: State): void {
    checkState(this.stateLayout, state);
    restoreState(this.#kernels.memory, this.layout, slotPtr, state);
  }

  /** The slot's state after `position` tokens, copied out. */
  save(slotPtr: number, position: number): State {
    const state = { ...emptyState(this.stateLayout), position };
    saveState(this.#kernels.memory, this.layout, slotPtr, state);
    return state;
  }

  /** A copy of memory from one address up to another. */
  bytes(from: number, to: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#kernels.memory.buffer.slice(from, to) as ArrayBuffer);
  }

  /** Leaves nothing of a conversation in memory: neither in its slot nor in the arena. */
  clear(slotPtr: number): void {
    clearSlot(this.#kernels.memory, this.layout, slotPtr);
    new Uint8Array(this.#kernels.memory.buffer, this.layout.arenaPtr, this.layout.arenaBytes).fill(0);
  }
}

function atLeastOne(name: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new GriffinError("invalid_argument", `${name} must be an integer of at least 1, got ${value}.`);
  }
  return value;
}
