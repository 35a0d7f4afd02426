declare module "cloudflare:test" {
  import type { DurableObjectNamespace, DurableObjectState, DurableObjectStub } from "@cloudflare/workers-types";

  import type { Env } from "../../src/conversation/env.ts";

  export const env: Env & { BARE: DurableObjectNamespace };
  export function runInDurableObject<R>(
    stub: DurableObjectStub,
    run: (instance: object, state: DurableObjectState) => R | Promise<R>,
  ): Promise<R>;
  export function abortAllDurableObjects(): Promise<void>;
  export function runDurableObjectAlarm(stub: DurableObjectStub): Promise<boolean>;
  export function evictDurableObject(stub: DurableObjectStub): Promise<void>;
}
