// What every handler finds in its Hono context.
import type { Env } from "../conversation/env.ts";
import type { RequestLog } from "./request-log.ts";

export interface AppEnv {
  Bindings: Env;
  Variables: {
    log: RequestLog;
    /** The ids of the configured models, the default first. */
    modelIds: () => string[];
  };
}
