// What the tests of storage share: objects, layouts, and states that look like a model's, made from a line of tokens.
import { plainOptions } from "../turn-options.ts";
import type { DurableObjectState, DurableObjectStorage } from "@cloudflare/workers-types";
import { env, runInDurableObject } from "cloudflare:test";
import { openStore, type ModelIdentity, type Store, type TurnOutcome } from "../../src/conversation/store.ts";
import type { TurnOptions } from "../../src/conversation/protocol.ts";
import type { Config } from "../../src/model/config.ts";
import { emptyState, stateLayout, type KvDtype, type State, type StateLayout } from "../../src/model/state.ts";

let objects = 0;

/** An object of its own. */
export const newObject = () => env.BARE.getByName(`object ${objects++}`);

/** The same object after it died: a stub dies with it. */
export const again = ({ id }: ReturnType<typeof newObject>) => env.BARE.get(id);

/** Runs in a new object with an open store that has branch 0. */
export async function withStore<R>(run: (store: Store, storage: DurableObjectStorage) => R): Promise<R> {
  return inObject(newObject(), ({ storage }) => {
    const store = openStore(storage);
    store.createBranch({ parentBranch: null, head: null, metadata: {}, nowMs: 1 });
    return run(store, storage);
  });
}

export const inObject = <R>(stub: ReturnType<typeof newObject>, run: (state: DurableObjectState) => R) =>
  runInDurableObject(stub, (_, state) => run(state));

export interface Sizes {
  blockTypes: ("recurrent" | "attention")[];
  lruWidth: number;
  numKvHeads: number;
  headDim: number;
  window: number;
  kv: KvDtype;
}

const R = "recurrent" as const;
const A = "attention" as const;

export const layoutOf = ({ kv, ...sizes }: Sizes): StateLayout => stateLayout(sizes as unknown as Config, kv);

export const pocket: Sizes = {
  blockTypes: [R, R, A, R, R, A],
  lruWidth: 192,
  numKvHeads: 1,
  headDim: 64,
  window: 32,
  kv: "f32",
};

/** RecurrentGemma-2B. */
export const twoB: Sizes = {
  blockTypes: Array.from({ length: 26 }, (_, i) => (i % 3 === 2 ? A : R)),
  lruWidth: 2560,
  numKvHeads: 1,
  headDim: 256,
  window: 2048,
  kv: "bf16",
};

export const small: Sizes = {
  blockTypes: [R, A, A],
  lruWidth: 2,
  numKvHeads: 2,
  headDim: 2,
  window: 100,
  kv: "f32",
};

export function identityOf(sizes: Sizes): ModelIdentity {
  return { checkpoint: "c".repeat(64), graph: "9".repeat(64), layout: layoutOf(sizes) };
}

/** Four bytes that depend on everything before them. */
const mix = (a: number, b: number) => {
  const x = Math.imul(a ^ (b + 0x9e3779b9), 0x85ebca6b);
  return (x ^ (x >>> 13)) >>> 0;
};

/**
 * The state after a line of tokens: a window's row depends on the tokens up to it, the recurrent part on all. Lines with
 * the same beginning have the same rows there, as in a model.
 */
export function stateOf({ layout }: ModelIdentity, line: readonly number[]): State {
  const state = { ...emptyState(layout), position: line.length };
  const prefixes = [1];
  for (const token of line) prefixes.push(mix(prefixes.at(-1)!, token));
  layout.entries.forEach((entry, e) => {
    const fill = (offset: number, bytes: number, seed: number) => {
      for (let i = 0; i < bytes; i++) state.data[entry.offsetBytes + offset + i] = mix(seed, e * 65_537 + i) >>> 7;
    };
    if (!/\.(keys|values)$/.test(entry.name)) return fill(0, entry.lengthBytes, prefixes.at(-1)!);
    const [window] = entry.shape;
    const row = entry.lengthBytes / window;
    for (let p = Math.max(0, line.length - window); p < line.length; p++)
      fill((p % window) * row, row, prefixes[p + 1]!);
  });
  return state;
}

export const options: TurnOptions = { ...plainOptions, maxTokens: 10, temperature: 0, seed: "0" };

export function outcomeOf(overrides: Partial<TurnOutcome> = {}): TurnOutcome {
  const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1, computedTokens: 2 };
  return {
    status: "completed",
    text: "Hello.",
    finishReason: "stop",
    state: "restored",
    placement: "edge",
    usage,
    promptTokens: [5, 6],
    replyTokens: [7],
    logProbabilities: null,
    nowMs: 20,
    ...overrides,
  };
}

/** A new turn in progress. */
export function begin(store: Store, parent: number | null, branch: number | null, repeatKey: string | null = null) {
  const messages = [{ role: "user" as const, content: "Hi." }];
  return store.insertTurn({
    parent,
    branch,
    messages,
    options,
    metadata: {},
    repeatKey,
    endsWithClient: false,
    nowMs: 10,
  });
}

/** A turn begun and committed, its state that of the line. */
export function addTurn(
  store: Store,
  identity: ModelIdentity,
  { parent, branch = null, line }: { parent: number | null; branch?: number | null; line: readonly number[] },
): number {
  const turn = begin(store, parent, branch);
  store.commit(turn, outcomeOf(), { state: stateOf(identity, line), identity, base: parent });
  return turn;
}

/** `count` tokens; equal starts give equal tokens. */
export const tokens = (count: number, start = 0) => Array.from({ length: count }, (_, i) => start + i);

const tables = ["meta", "branches", "turns", "log", "parts", "snapshots", "pages"];

/** Everything in the database, as text. */
export function dump({ sql }: DurableObjectStorage): string {
  const show = (_: string, value: unknown) =>
    value instanceof ArrayBuffer ? Array.from(new Uint8Array(value)).join(" ") : value;
  return JSON.stringify(
    tables.map((table) => [table, sql.exec(`SELECT * FROM ${table}`).toArray()]),
    show,
  );
}

/** Pages that exist, and pages that snapshots refer to, both in order and each once. */
export function pageBooks({ sql }: DurableObjectStorage): { stored: number[]; referred: number[] } {
  const referred = new Set<number>();
  for (const { pages } of sql.exec<{ pages: ArrayBuffer }>("SELECT pages FROM snapshots")) {
    new Uint32Array(pages).forEach((value, i) => i % 2 === 0 && referred.add(value));
  }
  const stored = sql.exec<{ page: number }>("SELECT page FROM pages ORDER BY page").toArray();
  return { stored: stored.map(({ page }) => page), referred: [...referred].sort((a, b) => a - b) };
}
