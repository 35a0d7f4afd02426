declare module "cloudflare:test" {
  import type { DurableObjectNamespace, DurableObjectState, DurableObjectStub } from "@cloudflare/workers-types";

  // An ambient module may import nothing by a relative name: such a type would silently be any.
  // oxlint-disable-next-line typescript/consistent-type-imports
  export const env: import("../../src/batch/env.ts").BatchEnv &
    // oxlint-disable-next-line typescript/consistent-type-imports
    import("../../src/inbox/env.ts").InboxEnv & { BARE: DurableObjectNamespace };
  export function runInDurableObject<R>(
    stub: DurableObjectStub,
    run: (instance: object, state: DurableObjectState) => R | Promise<R>,
  ): Promise<R>;
  export function abortAllDurableObjects(): Promise<void>;
  export function runDurableObjectAlarm(stub: DurableObjectStub): Promise<boolean>;
  export function evictDurableObject(stub: DurableObjectStub): Promise<void>;
}

declare module "cloudflare:workers" {
  export abstract class WorkerEntrypoint {
    abstract fetch(request: Request): Promise<Response>;
  }
}
