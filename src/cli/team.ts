// A team of Node's worker threads. A call is a kernel and lists of numbers in shared memory, one a share; everybody, the
// caller too, takes the next share until there is none. So a thread that the system keeps waiting holds up nobody.
import { Worker } from "node:worker_threads";
import { instantiateKernels, kernelNames, type Kernels } from "../engine/kernels.ts";
import type { TeamMaker } from "../engine/team.ts";

/**
 * Places in the shared words: calls so far, the ticket, shares not done, the kernel, failures. The ticket is the number
 * of the call's shares and, in the low half, of the next one: taken in one step, so that a thread that was held up
 * between two calls cannot take a share of the one by the number of the other.
 */
const at = { call: 0, ticket: 1, left: 2, kernel: 3, failed: 4 } as const;
const countShift = 16;
const shareMask = 2 ** countShift - 1;
const mostArgs = 16;
const sharesAMember = 4;
/** A share that is not done after so long is lost, and the engine with it. */
const patienceMs = 10_000;

/** What the members of a team have in common. */
export interface Shared {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  words: Int32Array;
  /** [share][mostArgs] */
  args: Float64Array;
}

/** A team of so many threads, the caller's among them. */
export function threads(members: number): TeamMaker {
  const shares = members * sharesAMember;
  return {
    shares,
    async open(module, memory) {
      const words = new Int32Array(new SharedArrayBuffer(4 * Object.keys(at).length));
      const args = new Float64Array(new SharedArrayBuffer(8 * mostArgs * shares));
      const shared: Shared = { module, memory, words, args };
      const kernels = await instantiateKernels(module, memory);
      const hired = await Promise.all(Array.from({ length: members - 1 }, () => hire(shared)));
      return {
        run(kernel, calls) {
          for (const [share, values] of calls.entries()) args.set(values, share * mostArgs);
          words[at.kernel] = kernelNames.indexOf(kernel);
          Atomics.store(words, at.left, calls.length);
          Atomics.store(words, at.ticket, calls.length << countShift); // from here on whoever is awake takes shares
          Atomics.add(words, at.call, 1);
          Atomics.notify(words, at.call);
          takeShares(kernels, shared);
          awaitAll(words);
        },
        async close() {
          await Promise.all(hired.map((worker) => worker.terminate()));
        },
      };
    },
  };
}

/** Starts a thread that does not keep the process alive. Built, it is a file beside this program. */
async function hire(workerData: Shared): Promise<Worker> {
  const file = import.meta.url.endsWith(".ts") ? "team-member.ts" : "team-member.js";
  const worker = new Worker(new URL(file, import.meta.url), { workerData });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  worker.unref();
  return worker;
}

/** Runs shares of the current call until there are none. A call does not end before its shares, nor change meanwhile. */
export function takeShares(kernels: Kernels, { words, args }: Shared): void {
  for (;;) {
    const ticket = Atomics.add(words, at.ticket, 1);
    const share = ticket & shareMask;
    if (share >= ticket >>> countShift) return;
    const kernel = kernelNames[words[at.kernel] ?? 0];
    try {
      if (kernel !== undefined) kernels[kernel](...args.subarray(share * mostArgs, (share + 1) * mostArgs));
    } catch {
      Atomics.store(words, at.failed, 1);
    }
    Atomics.sub(words, at.left, 1);
  }
}

/** Waits for a call after the `seen`th, awake for some tens of microseconds and then asleep, and returns its number. */
export function nextCall(words: Int32Array, seen: number): number {
  for (let looks = 0; looks < 20_000; looks++) {
    const call = Atomics.load(words, at.call);
    if (call !== seen) return call;
  }
  Atomics.wait(words, at.call, seen);
  return Atomics.load(words, at.call);
}

/** Waits for shares that others took. */
function awaitAll(words: Int32Array): void {
  let sinceMs = 0;
  for (let looks = 1; Atomics.load(words, at.left) > 0; looks++) {
    if (looks % 2 ** 16 !== 0) continue;
    sinceMs ||= performance.now();
    if (performance.now() - sinceMs > patienceMs) throw new WebAssembly.RuntimeError("a thread does not answer");
  }
  if (words[at.failed] !== 0) throw new WebAssembly.RuntimeError("a kernel failed");
}
