// Automaton: where a text may be in a network after each of its bytes. All places are followed at once, each with the
// calls it has to return from; the sets of places met so far are numbered, so that each step is taken only once.
import { GriffinError } from "../../errors.ts";
import type { Network } from "./network.ts";

/** No text that begins like this fits. */
export const dead = -1;
const unknown = -2;
/** Of one text: an ambiguous format multiplies them. */
const mostPlaces = 2_000;
/** A step costs a KiB to remember. */
const mostSets = 4_096;

interface PlaceSet {
  places: readonly number[];
  /** Byte → number of the next set, once it is known. */
  next: Int32Array;
  isEnd: boolean;
}

/** Numbers of sets are valid until `forget` is called. */
export class Automaton {
  readonly #network: Network;
  /** A place is a state and a stack of states to return to. */
  readonly #places = new Interned();
  /** A stack is a state on top of another stack; 0 is the empty one. */
  readonly #stacks = new Interned();
  #sets: PlaceSet[] = [];
  #numbers = new Map<string, number>();
  readonly start: number;

  constructor(network: Network) {
    this.#network = network;
    this.#stacks.add(0, 0);
    this.start = this.#setOf([this.#places.add(network.start, 0)]);
  }

  /** The set after one more byte; `dead` where there is none. */
  next(set: number, byte: number): number {
    const from = this.#sets[set];
    if (from === undefined) return dead;
    const known = from.next[byte] ?? unknown;
    if (known !== unknown) return known;
    const reached: number[] = [];
    for (const place of from.places) {
      const [state, stack] = this.#places.at(place);
      for (const { low, high, to } of this.#network.states[state]?.bytes ?? []) {
        if (byte >= low && byte <= high) reached.push(this.#places.add(to, stack));
      }
    }
    const next = reached.length === 0 ? dead : this.#setOf(reached);
    from.next[byte] = next;
    return next;
  }

  /** Whether the text may end here. */
  mayEnd(set: number): boolean {
    return this.#sets[set]?.isEnd ?? false;
  }

  /** Whether the text may go on. */
  mayGoOn(set: number): boolean {
    return (this.#sets[set]?.places.length ?? 0) > 0;
  }

  /** Gives memory back when there are many sets: all numbers but this set's become invalid. Returns its new one. */
  forget(set: number): number {
    const kept = this.#sets[set];
    if (this.#sets.length < mostSets || kept === undefined) return set;
    this.#sets = [];
    this.#numbers = new Map();
    return this.#number(kept.places, kept.isEnd);
  }

  /** The set of all places that these lead to without a byte, as far as bytes lead on from them. */
  #setOf(from: readonly number[]): number {
    const seen = new Set(from);
    const places: number[] = [];
    let isEnd = false;
    // A set in JavaScript goes on to what is added while it is walked through.
    for (const place of seen) {
      if (seen.size > mostPlaces) throw new GriffinError("unsupported", "The format is too ambiguous to follow.");
      const [number, stack] = this.#places.at(place);
      const state = this.#network.states[number];
      if (state === undefined) continue;
      if (state.bytes.length > 0) places.push(place);
      for (const to of state.free) seen.add(this.#places.add(to, stack));
      for (const { start, to } of state.calls) seen.add(this.#places.add(start, this.#stacks.add(to, stack)));
      if (!state.isEnd) continue;
      if (stack === 0) isEnd = true;
      else seen.add(this.#places.add(...this.#stacks.at(stack)));
    }
    return this.#number(
      places.sort((a, b) => a - b),
      isEnd,
    );
  }

  #number(places: readonly number[], isEnd: boolean): number {
    const key = `${isEnd}${places.join()}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#sets.push({ places, isEnd, next: new Int32Array(256).fill(unknown) }) - 1;
    this.#numbers.set(key, number);
    return number;
  }
}

/** Pairs of numbers, numbered in the order in which they were first met. */
class Interned {
  readonly #numbers = new Map<number, number>();
  readonly #pairs: [number, number][] = [];

  add(first: number, second: number): number {
    const key = first * 2 ** 32 + second;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#numbers.set(key, this.#pairs.length);
    return this.#pairs.push([first, second]) - 1;
  }

  at(number: number): [number, number] {
    return this.#pairs[number] ?? [0, 0];
  }
}
