// What every handler finds in its Hono context.
import type { BatchEnv } from "../batch/env.ts";
import type { InboxEnv } from "../inbox/env.ts";
import type { Asker, Charge } from "../tenant/protocol.ts";
import type { RequestLog } from "./request-log.ts";

export interface AppEnv {
  Bindings: BatchEnv & InboxEnv;
  Variables: {
    log: RequestLog;
    /** The key of a request, as far as it tells itself; null where the server is open, or the key is the administrators'. */
    apiKey: ({ tenant: string } & Asker) | null;
    /** Whose request it is: all objects it reaches are this tenant's. "" where the server is open to everybody. */
    tenant: string;
    /** Which of the tenant's keys opened it; null where the server is open. */
    key: number | null;
    /** Where the tokens of this request are charged; null where the server is open, it runs none, or they are taken care of. */
    charge: Charge | null;
    /** The ids of the configured models, the default first. */
    modelIds: () => string[];
  };
}
