// The modules that only exist in workerd or its bundler, as far as they are used here. The package's own global types
// are those of a worker and clash with the ones of browsers and Node, where most of src/ runs too.
declare module "cloudflare:workers" {
  import type { DurableObjectState } from "@cloudflare/workers-types";

  export abstract class DurableObject<Env> {
    protected readonly ctx: DurableObjectState;
    protected readonly env: Env;
    constructor(ctx: DurableObjectState, env: Env);
    alarm?(): void | Promise<void>;
  }
}

declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
