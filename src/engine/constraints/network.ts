// Network: an expression as states with edges (a recursive transition network). Rules, and what is repeated a counted
// number of times, are sub-networks that edges call, so that recursion and large counts cost states in proportion.
import { GriffinError } from "../../errors.ts";
import type { Expression, Rule } from "./expression.ts";

export interface Network {
  /** The state in which a text begins. */
  start: number;
  states: readonly NetworkState[];
}

export interface NetworkState {
  /** Bytes from `low` to `high` lead to `to`. */
  bytes: { low: number; high: number; to: number }[];
  /** States that are reached without a byte. */
  free: number[];
  /** Sub-networks to go through first, and the state behind each. */
  calls: { start: number; to: number }[];
  /** A sub-network, or the whole, ends here. */
  isEnd: boolean;
}

const mostStates = 40_000;

/** Throws `unsupported` where it would be too large, and `invalid_argument` where no text at all fits. */
export function compileNetwork(expression: Expression): Network {
  const network = new Builder().build(expression);
  if (!prune(network)) throw new GriffinError("invalid_argument", "No text can have this format.");
  return network;
}

class Builder {
  readonly #states: NetworkState[] = [];
  /** Rules and repeated expressions → the state in which they begin. */
  readonly #starts = new Map<Rule | Expression, number>();
  readonly #open: { start: number; end: number; body: Expression }[] = [];

  build(expression: Expression): Network {
    const start = this.#called(expression, expression);
    for (let next = this.#open.pop(); next !== undefined; next = this.#open.pop()) {
      this.#connect(next.body, next.start, next.end);
    }
    return { start, states: this.#states };
  }

  #called(key: Rule | Expression, body: Expression): number {
    const known = this.#starts.get(key);
    if (known !== undefined) return known;
    const [start, end] = [this.#state(), this.#state()];
    this.#at(end).isEnd = true;
    this.#starts.set(key, start);
    this.#open.push({ start, end, body });
    return start;
  }

  #state(): number {
    if (this.#states.length >= mostStates) {
      throw new GriffinError("unsupported", "The format is too large: it has too many parts, or counts too far.");
    }
    return this.#states.push({ bytes: [], free: [], calls: [], isEnd: false }) - 1;
  }

  #at(state: number): NetworkState {
    const found = this.#states[state];
    if (found === undefined) throw new GriffinError("internal", `A grammar has no state ${state}.`);
    return found;
  }

  #connect(expression: Expression, from: number, to: number): void {
    const { kind } = expression;
    if (kind === "byte") {
      this.#at(from).bytes.push({ low: expression.low, high: expression.high, to });
    } else if (kind === "choice") {
      // No part leads back to where it begins, so all may begin in one state.
      for (const part of expression.parts) this.#connect(part, from, to);
    } else if (kind === "rule") {
      this.#call(this.#called(expression.rule, expression.rule.body), from, to);
    } else if (kind === "repeat") {
      this.#repeat(expression, from, to);
    } else {
      let at = from;
      const last = expression.parts.length - 1;
      for (const [index, part] of expression.parts.entries()) {
        const next = index === last ? to : this.#state();
        this.#connect(part, at, next);
        at = next;
      }
      if (last < 0) this.#at(from).free.push(to);
    }
  }

  #repeat({ part, min, max }: Expression & { kind: "repeat" }, from: number, to: number): void {
    if (max < min) return;
    const isCounted = min > 1 || (max > 1 && max < Infinity);
    const once = (at: number, next: number) =>
      isCounted ? this.#call(this.#called(part, part), at, next) : this.#connect(part, at, next);
    let at = this.#freeState(from);
    for (let count = 0; count < min; count++) {
      const next = this.#state();
      once(at, next);
      at = next;
    }
    if (max === Infinity) {
      // Round and round from a state of its own, so that no edge leads in from behind it.
      const round = this.#freeState(at);
      once(round, round);
      this.#at(round).free.push(to);
      return;
    }
    for (let count = min; count < max; count++) {
      this.#at(at).free.push(to);
      const next = this.#state();
      once(at, next);
      at = next;
    }
    this.#at(at).free.push(to);
  }

  #call(start: number, from: number, to: number): void {
    this.#at(from).calls.push({ start, to });
  }

  #freeState(from: number): number {
    const state = this.#state();
    this.#at(from).free.push(state);
    return state;
  }
}

/** Takes out every edge from which no end can be reached; false where nothing is left. */
function prune({ start, states }: Network): boolean {
  const good = new Set<number>();
  const isGood = (state: number) => good.has(state);
  const before = predecessors(states);
  const open = [...states.keys()].filter((index) => states[index]?.isEnd);
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    const state = states[index];
    if (state === undefined || isGood(index)) continue;
    const reachesEnd =
      state.isEnd ||
      state.free.some(isGood) ||
      state.bytes.some(({ to }) => isGood(to)) ||
      state.calls.some((call) => isGood(call.start) && isGood(call.to));
    if (!reachesEnd) continue;
    good.add(index);
    for (const one of before[index] ?? []) open.push(one);
  }
  for (const state of states) {
    state.free = state.free.filter(isGood);
    state.bytes = state.bytes.filter(({ to }) => isGood(to));
    state.calls = state.calls.filter((call) => isGood(call.start) && isGood(call.to));
  }
  return isGood(start);
}

/** Of every state those with an edge to it, or a call of it. */
function predecessors(states: readonly NetworkState[]): number[][] {
  const before: number[][] = states.map(() => []);
  for (const [index, { bytes, free, calls }] of states.entries()) {
    for (const { to } of bytes) before[to]?.push(index);
    for (const to of free) before[to]?.push(index);
    for (const { start, to } of calls) {
      before[start]?.push(index);
      before[to]?.push(index);
    }
  }
  return before;
}
