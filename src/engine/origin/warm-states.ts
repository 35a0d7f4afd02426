// Which states an origin has at hand. A state is known by what it is, its position and the SHA-256 of its bytes, and by
// nothing else: a branch, an edit or another reply has another one. What is remembered here is a hint; the origin says
// whether it is so, and the edge has every state itself.
import type { State } from "../../model/state.ts";

/** A state that an origin kept, in its words. */
export interface WarmState {
  /** Names the conversation to the origin: its turns come to where its state is. */
  key: string;
  position: number;
  fingerprint: string;
}

/** More are not remembered: those that were kept longest ago go. */
const mostStates = 1_000;

/** What a state is known by. */
export async function stateName({ position, data }: State): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
  return `${position} ${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

export class WarmStates {
  /** By their names, the oldest first. */
  readonly #kept = new Map<string, WarmState>();

  add(name: string, warm: WarmState): void {
    this.#kept.delete(name);
    this.#kept.set(name, warm);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= mostStates) break;
      this.#kept.delete(oldest);
    }
  }

  /** A state that is asked for is not there any more, whatever becomes of the turn. */
  take(name: string): WarmState | undefined {
    const warm = this.#kept.get(name);
    this.#kept.delete(name);
    return warm;
  }
}
