// A process that decodes when it is told to: hosts.ts starts it under the flags it wants to know about.
import path from "node:path";
import { openFolder } from "../../src/cli/files.ts";
import { nodeHash } from "../../src/cli/hash.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { cacheFolder } from "../models.ts";
import { kernelModule } from "../module.ts";
import { worker, type Task } from "./host.ts";

const work = worker(async (folder) =>
  EdgeEngine.load(await kernelModule(), openFolder(path.join(cacheFolder, "checkpoints", folder)), {
    createHash: nodeHash,
  }),
);
process.on("message", async (task: Task) => {
  for await (const _ of work(task));
  process.send?.("done");
});
process.on("disconnect", () => process.exit());
