// NamedRequest: the Durable Object of one `Idempotency-Key`. For a day it remembers the name that was given to what the
// request made, so that the same request, sent again, finds it.
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
    const { storage } = this.ctx;
    const known = storage.kv.get<Remembered>("remembered");
    if (known === undefined) {
      storage.kv.put<Remembered>("remembered", { name, body });
      this.ctx.waitUntil(storage.setAlarm(Date.now() + rememberedMs));
      return name;
    }
    if (known.body === body) return known.name;
    throw new GriffinError("key_reused", "The Idempotency-Key was used with another body: take a new one.");
  }

  override async alarm(): Promise<void> {
    await this.ctx.storage.deleteAll();
  }
}
