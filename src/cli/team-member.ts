// One thread of a team: it waits for a call, and takes shares of it. See team.ts.
import { parentPort, workerData } from "node:worker_threads";
import { instantiateKernels } from "../engine/kernels.ts";
import { nextCall, takeShares, type Shared } from "./team.ts";

const shared: Shared = workerData;
const kernels = await instantiateKernels(shared.module, shared.memory);
let call = 0;
parentPort?.postMessage("ready");
for (;;) {
  call = nextCall(shared.words, call);
  takeShares(kernels, shared);
}
