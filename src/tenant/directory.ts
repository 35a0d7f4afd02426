// TenantDirectory: the one Durable Object that knows which tenants there are. Requests never ask it: a key names its
// tenant.
import { DurableObject } from "cloudflare:workers";

const prefix = "tenant/";

export class TenantDirectory extends DurableObject<object> {
  add(id: string): void {
    this.ctx.storage.kv.put(prefix + id, Date.now());
  }

  remove(id: string): void {
    this.ctx.storage.kv.delete(prefix + id);
  }

  /** Ids in order, behind `after`. */
  list(after: string | null, limit: number): { ids: string[]; isLast: boolean } {
    const from = after === null ? { prefix } : { prefix, startAfter: prefix + after };
    const ids = [...this.ctx.storage.kv.list({ ...from, limit: limit + 1 })].map(([key]) => key.slice(prefix.length));
    return { ids: ids.slice(0, limit), isLast: ids.length <= limit };
  }
}
