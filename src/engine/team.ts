// A team: threads with the same kernels over one shared memory. The engine deals a call out in shares; how threads are
// made and told is the host's business, because only some hosts have them.
import type { KernelName } from "./kernels.ts";

export interface Team {
  /** Runs a kernel once with each list of arguments, by whoever comes first. Returns when all are done. */
  run(kernel: KernelName, shares: readonly (readonly number[])[]): void;
  /** Lets its threads go. */
  close(): Promise<void>;
}

/** A team to be. */
export interface TeamMaker {
  /** Into so many shares a call is dealt out: more than there are threads, so that one that is late costs little. */
  readonly shares: number;
  /** Makes the team over the memory of an instance. The module is built for shared memory. */
  open(module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<Team>;
}
