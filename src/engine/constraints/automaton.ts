// Automaton: where a text may be in a network after each of its bytes. All places are followed at once, each with the
// calls it has to return from; the sets of places met so far are numbered, so that each step is taken only once.
import { GriffinError } from "../../errors.ts";
import type { Network } from "./network.ts";

/** No text that begins like this fits. */
export const dead = -1;
const unknown = -2;
/** Of one text: an ambiguous format multiplies them. */
const mostPlaces = 2_000;
/** When there are more sets, they are forgotten after the token. A set costs a KiB. */
const mostSets = 2_048;

interface PlaceSet {
  places: readonly number[];
  isEnd: boolean;
}

/** Numbers of sets are valid until `forget` gives another one. */
export class Automaton {
  readonly #network: Network;
  /** A place is a state and a stack of states to return to. */
  #places = new Interned();
  /** A stack is a state on top of another stack; 0 is the empty one. */
  #stacks = emptyStacks();
  #sets: PlaceSet[] = [];
  #numbers = new Map<string, number>();
  /** [set, byte] → the number of the next set, once it is known. */
  #next = new Int32Array(16 * 256);
  readonly start: number;

  constructor(network: Network) {
    this.#network = network;
    this.start = this.#setOf([this.#places.add(network.start, 0)]);
  }

  /** The set after one more byte; `dead` where there is none. */
  next(set: number, byte: number): number {
    const known = this.#next[set * 256 + byte] ?? dead;
    return known === unknown ? this.#step(set, byte) : known;
  }

  /** The one byte that the text can go on with; null where there are more, or it may end. */
  onlyByte(set: number): number | null {
    if (this.mayEnd(set)) return null;
    let only: number | null = null;
    for (const place of this.#sets[set]?.places ?? []) {
      const [state] = this.#places.at(place);
      for (const { low, high } of this.#network.states[state]?.bytes ?? []) {
        if (low !== high || (only !== null && only !== low)) return null;
        only = low;
      }
    }
    return only;
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
    const [places, stacks] = [this.#places, this.#stacks];
    this.#places = new Interned();
    this.#stacks = emptyStacks();
    this.#sets = [];
    this.#numbers = new Map();
    this.#next = new Int32Array(16 * 256);
    const moved = new Map([[0, 0]]);
    return this.#number(
      kept.places.map((place) => {
        const [state, stack] = places.at(place);
        return this.#places.add(state, this.#moveStack(stack, stacks, moved));
      }),
      kept.isEnd,
    );
  }

  /** The number of a stack of `from` among those of now. Stacks are as deep as a text is nested, so no recursion. */
  #moveStack(stack: number, from: Interned, moved: Map<number, number>): number {
    const path: number[] = [];
    let at = stack;
    for (; !moved.has(at); [, at] = from.at(at)) path.push(at);
    for (const below of path.toReversed()) {
      const [state, under] = from.at(below);
      moved.set(below, this.#stacks.add(state, moved.get(under) ?? 0));
    }
    return moved.get(stack) ?? 0;
  }

  #step(set: number, byte: number): number {
    const reached: number[] = [];
    for (const place of this.#sets[set]?.places ?? []) {
      const [state, stack] = this.#places.at(place);
      for (const { low, high, to } of this.#network.states[state]?.bytes ?? []) {
        if (byte >= low && byte <= high) reached.push(this.#places.add(to, stack));
      }
    }
    const next = reached.length === 0 ? dead : this.#setOf(reached);
    this.#next[set * 256 + byte] = next;
    return next;
  }

  /** The set of all places that these lead to without a byte, as far as bytes lead on from them. */
  #setOf(from: readonly number[]): number {
    const seen = new Set(from);
    const places: number[] = [];
    let isEnd = false;
    // A set in JavaScript goes on to what is added while it is walked through.
    for (const place of seen) {
      const [number, stack] = this.#places.at(place);
      const state = this.#network.states[number];
      if (state === undefined) continue;
      if (state.bytes.length > 0) places.push(place);
      for (const to of state.free) seen.add(this.#places.add(to, stack));
      for (const { start, to } of state.calls) seen.add(this.#places.add(start, this.#stacks.add(to, stack)));
      if (seen.size > 4 * mostPlaces || places.length > mostPlaces) {
        throw new GriffinError("unsupported", "The format is too ambiguous to follow.");
      }
      if (!state.isEnd) continue;
      if (stack === 0) isEnd = true;
      else seen.add(this.#places.add(...this.#stacks.at(stack)));
    }
    return this.#number(places, isEnd);
  }

  #number(places: number[], isEnd: boolean): number {
    const key = `${isEnd}${places.sort((a, b) => a - b).join()}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#sets.push({ places, isEnd }) - 1;
    this.#numbers.set(key, number);
    if ((number + 1) * 256 > this.#next.length) {
      const more = new Int32Array(this.#next.length * 2);
      more.set(this.#next);
      this.#next = more;
    }
    this.#next.fill(unknown, number * 256, (number + 1) * 256);
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

/** Stacks, of which the empty one is 0. */
function emptyStacks(): Interned {
  const stacks = new Interned();
  stacks.add(0, 0);
  return stacks;
}
