// Requests that this server sends to itself for somebody: lines of batches. Whose they are stands in the environment that
// the app is called with, under a key that nothing outside this file has: no header and no binding can say it.
import type { BatchEnv } from "../batch/env.ts";

export interface Caller {
  /** "" where the server is open. */
  tenant: string;
  /** Number of the tenant's key that the work was asked for with; null where the server is open. */
  key: number | null;
  /** Names the request: sent again, it is the same one. Nobody can guess it. */
  request: string;
}

const callerKey = Symbol("caller");

/** The environment of requests that are sent for somebody. */
export const withCaller = (env: BatchEnv, caller: Caller): BatchEnv =>
  Object.assign({ ...env }, { [callerKey]: caller });

/** For whom a request is sent; null where somebody has sent it. */
export const callerOf = (env: BatchEnv & { [callerKey]?: Caller }): Caller | null => env[callerKey] ?? null;
