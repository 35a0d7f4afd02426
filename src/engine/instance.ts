// Instance: one WASM instance with a model in it: its weights, its slots of state and the plans made so far.
// It knows tokens, positions and slots; it knows nothing of text, sampling or turns.
import type { Checkpoint } from "../checkpoint/load.ts";
import type { Manifest } from "../checkpoint/manifest.ts";
import { GriffinError } from "../errors.ts";
import { readGraph } from "../model/graph.ts";
import { decodeModel } from "../model/onnx.ts";
import { checkState, emptyState, stateLayout, type State, type StateLayout } from "../model/state.ts";
import { aligned } from "./arena.ts";
import { checkGraph } from "./check-graph.ts";
import type { Rows } from "./demand.ts";
import { execute } from "./execute.ts";
import { instantiateKernels, type Kernels } from "./kernels.ts";
import {
  addressableBytes,
  clearSlot,
  layoutMemory,
  pageBytes,
  reserve,
  restoreState,
  saveState,
  type MemoryLayout,
} from "./memory.ts";
import { buildPlan, type Plan } from "./plan.ts";
import { schedule } from "./schedule.ts";
import type { Team, TeamMaker } from "./team.ts";
import { stagingBytes, storeWeights } from "./weights.ts";

export interface InstanceOptions {
  /** Conversations that can be in a turn at once, 1 unless told; fewer where the memory allowed does not hold them. */
  slots?: number;
  /** The most tokens one pass reads; a prompt is read in chunks of this size. As `chunkTokensFor` says unless told. */
  chunkTokens?: number;
  /** The most tokens of which one pass computes all logits. As `logitsTokensFor` says unless told. */
  logitsTokens?: number;
  /** Refuse models that need more memory than this. */
  memoryLimitBytes?: number;
  /** Makes threads that share the work; the module must be the one for threads. */
  team?: TeamMaker;
}

/**
 * Multiplications of one pass: other chats wait for it. 20 tokens of a 30 M model take 28 ms in int8 and 61 ms in f32
 * (Node 24 with --wasm-enforce-bounds-checks, as workerd has them, one core of an Intel Xeon, 2026-11-25).
 */
const workPerPass = { f32: 300_000_000, bf16: 300_000_000, int8: 600_000_000, int4: 600_000_000 };

/** Tokens to read at once: enough for weights to be used many times, few enough for others to have their turn. */
export const chunkTokensFor = ({ parameters, format }: Pick<Manifest, "parameters" | "format">): number =>
  Math.min(Math.max(Math.floor(workPerPass[format] / parameters), 8), 64);

/** Memory for the logits of all tokens of a pass: little beside the rest of the arena. */
const mostLogitsBytes = 2 ** 20;

/** Tokens of which all logits are computed at once. */
const logitsTokensFor = (vocabSize: number): number => Math.max(Math.floor(mostLogitsBytes / (4 * vocabSize)), 1);

/** A plan is a few hundred KB; those of single tokens and whole chunks stay, those of remainders come and go. */
const mostPlans = 8;

/** A model in WASM memory. */
export class Instance {
  readonly vocabSize: number;
  readonly chunkTokens: number;
  readonly logitsTokens: number;
  readonly layout: MemoryLayout;
  readonly stateLayout: StateLayout;
  readonly #kernels: Kernels;
  #team: Team | undefined;
  readonly #plan: (tokens: number, logits: Rows) => Plan;

  private constructor(kernels: Kernels, checkpoint: Checkpoint, options: InstanceOptions) {
    const { config, manifest } = checkpoint;
    const graph = readGraph(decodeModel(checkpoint.graph));
    this.#kernels = kernels;
    this.vocabSize = config.vocabSize;
    this.chunkTokens = atLeastOne("chunkTokens", options.chunkTokens ?? chunkTokensFor(manifest));
    const logitsTokens = options.logitsTokens ?? logitsTokensFor(config.vocabSize);
    this.logitsTokens = Math.min(atLeastOne("logitsTokens", logitsTokens), this.chunkTokens);
    this.stateLayout = stateLayout(config, manifest.kv);

    checkGraph(graph, this.stateLayout, config, manifest.kv);

    const shares = options.team?.shares ?? 1;
    const passes = {
      none: schedule(graph, kernels, this.chunkTokens, "none", shares),
      last: schedule(graph, kernels, this.chunkTokens, "last", shares),
      all: schedule(graph, kernels, this.logitsTokens, "all", shares),
    };
    const memory = {
      heapBase: kernels.heap_base(),
      chunkTokens: this.chunkTokens,
      arenaBytes: Math.max(stagingBytes(graph), ...Object.values(passes).map(({ arenaBytes }) => arenaBytes)),
      limitBytes: Math.min(options.memoryLimitBytes ?? addressableBytes, addressableBytes),
    };
    const { totalBytes, slotBytes } = layoutMemory(graph, this.stateLayout, { ...memory, slots: 1 });
    const spareSlots = Math.floor((memory.limitBytes - totalBytes) / aligned(Math.max(slotBytes, 1)));
    const slots = Math.min(atLeastOne("slots", options.slots ?? 1), 1 + spareSlots);
    this.layout = layoutMemory(graph, this.stateLayout, { ...memory, slots });
    const plans = recentlyUsed<Plan>(mostPlans);
    this.#plan = (tokens, logits) => plans(`${tokens} ${logits}`, () => buildPlan(passes[logits], tokens, this.layout));
  }

  /** Lays out memory for a checkpoint without loading its weights: enough to look at plans. */
  static async prepare(
    module: WebAssembly.Module,
    checkpoint: Checkpoint,
    options: InstanceOptions = {},
  ): Promise<Instance> {
    const shared = { initial: 1, maximum: addressableBytes / pageBytes, shared: true };
    const memory = options.team && new WebAssembly.Memory(shared);
    return new Instance(await instantiateKernels(module, memory), checkpoint, options);
  }

  /** A model ready to run. Throws `model_too_large` before any weight is read. */
  static async load(
    module: WebAssembly.Module,
    checkpoint: Checkpoint,
    options: InstanceOptions = {},
  ): Promise<Instance> {
    const instance = await Instance.prepare(module, checkpoint, options);
    const { memory } = instance.#kernels;
    reserve(memory, instance.layout.totalBytes);
    instance.#team = await options.team?.open(module, memory);
    try {
      await storeWeights(instance.#kernels, instance.layout.weights, checkpoint.weights(), instance.layout.arenaPtr);
    } catch (error) {
      await instance.close();
      throw error;
    }
    return instance;
  }

  /** Lets the threads go that share its work. No pass may follow. */
  async close(): Promise<void> {
    await this.#team?.close();
  }

  /** The plan for a pass of this many tokens. */
  plan(tokens: number, logits: Rows): Plan {
    return this.#plan(tokens, logits);
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
    const plan = this.plan(tokens.length, logits);
    const { buffer } = this.#kernels.memory;
    new Int32Array(buffer, plan.tokensPtr, tokens.length).set(tokens);
    new Int32Array(buffer, plan.posPtr, tokens.length).forEach((_, i, pos) => (pos[i] = position + i));
    execute(this.#kernels, plan, slotPtr, this.#team);
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
    return new Uint8Array(this.#kernels.memory.buffer, from, to - from).slice();
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

/** Remembers the values of the last `count` keys that were asked for; others are made anew. */
function recentlyUsed<Value>(count: number): (key: string, make: () => Value) => Value {
  const known = new Map<string, Value>();
  return (key, make) => {
    const value = known.get(key) ?? make();
    known.delete(key);
    known.set(key, value);
    const [oldest] = known.keys();
    if (known.size > count && oldest !== undefined) known.delete(oldest);
    return value;
  };
}
