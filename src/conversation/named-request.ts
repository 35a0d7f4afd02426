// NamedRequest: the Durable Object of one request that its caller named, with an `Idempotency-Key` or by counting its
// attempts. For some time it remembers the name that was given to what the request made, so that the same request, sent
// again, finds it.
import { DurableObject } from "cloudflare:workers";
import { GriffinError } from "../errors.ts";
import type { Env } from "./env.ts";
import { rememberedMs } from "./protocol.ts";

interface Remembered {
  name: string;
  body: string;
}

export class NamedRequest extends DurableObject<Env> {
  /** The name that was given here for the first time. Throws `key_reused` where the bodies, named by their hashes, differ. */
  rememberName(name: string, body: string): string {
    const known = this.#known();
    if (known === undefined) return this.#remember({ name, body }, rememberedMs);
    if (known.body === body) return known.name;
    throw new GriffinError("key_reused", "The Idempotency-Key was used with another body: take a new one.");
  }

  /** The name of the latest first attempt, which a later one looks for; the one given where there is none. */
  nameAttempt(name: string, isFirst: boolean, forMs: number): string {
    const known = isFirst ? undefined : this.#known();
    return known?.name ?? this.#remember({ name, body: "" }, forMs);
  }

  override async alarm(): Promise<void> {
    await this.ctx.storage.deleteAll();
  }

  #known(): Remembered | undefined {
    return this.ctx.storage.kv.get<Remembered>("remembered");
  }

  #remember(remembered: Remembered, forMs: number): string {
    const { storage } = this.ctx;
    storage.kv.put<Remembered>("remembered", remembered);
    this.ctx.waitUntil(storage.setAlarm(Date.now() + forMs));
    return remembered.name;
  }
}
