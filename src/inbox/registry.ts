// HookRegistry: the Durable Object that knows which hooks a tenant has. It holds ids alone; a hook's own object knows the
// rest.
import { DurableObject } from "cloudflare:workers";
import { GriffinError } from "../errors.ts";
import type { InboxEnv } from "./env.ts";

export const mostHooks = 100;

/** A hook whose making takes longer is not made any more. */
const makingMs = 60_000;

/** Id → when it was made. */
const hookPrefix = "hook/";

export class HookRegistry extends DurableObject<InboxEnv> {
  /** A hook is about to be made. Throws `invalid_argument` where there are as many as there may be. */
  add(id: string): void {
    if (this.#all().length >= mostHooks) {
      throw new GriffinError("invalid_argument", `There are at most ${mostHooks} hooks.`);
    }
    this.ctx.storage.kv.put(hookPrefix + id, Date.now());
  }

  /** false where it was not known. */
  remove(id: string): boolean {
    return this.ctx.storage.kv.delete(hookPrefix + id);
  }

  /** Forgets ids of hooks that are not there, but for those that may be about to be. */
  dropLeftovers(ids: readonly string[]): void {
    for (const id of ids) {
      const addedMs = this.ctx.storage.kv.get<number>(hookPrefix + id) ?? Infinity;
      if (addedMs < Date.now() - makingMs) this.remove(id);
    }
  }

  /** Ids, the newest first, behind `after`. */
  list(after: string | null, limit: number): { ids: string[]; isLast: boolean } {
    const all = this.#all();
    const start = after === null ? 0 : all.indexOf(after) + 1;
    if (after !== null && start === 0) return { ids: [], isLast: true };
    return { ids: all.slice(start, start + limit), isLast: start + limit >= all.length };
  }

  async removeAll(): Promise<void> {
    await this.ctx.storage.deleteAll();
  }

  #all(): string[] {
    return [...this.ctx.storage.kv.list<number>({ prefix: hookPrefix })]
      .toSorted(([a, aMs], [b, bMs]) => bMs - aMs || (a < b ? -1 : 1))
      .map(([key]) => key.slice(hookPrefix.length));
  }
}
