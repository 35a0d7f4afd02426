// The worker of these tests: the real one, an object that does nothing, whose storage tests open, and a receiver of
// webhooks.
import { WorkerEntrypoint } from "cloudflare:workers";
import type { BatchMessage } from "../../src/batch/protocol.ts";
import worker from "../../src/worker.ts";
import { receive } from "./receiver.ts";

export * from "../../src/worker.ts";

/** Batches with such names are run by the tests themselves: nobody takes their messages. */
const byHand = "by hand/";

export default {
  ...worker,
  queue(batch: Parameters<typeof worker.queue>[0], ...rest: Rest) {
    const messages = batch.messages.filter(({ body }) => !(body as BatchMessage).batch.startsWith(byHand));
    return worker.queue({ queue: batch.queue, messages }, ...rest);
  },
};

type Rest = Parameters<typeof worker.queue> extends [unknown, ...infer Others] ? Others : never;

export class Bare {
  fetch(): Response {
    return new Response("tests only", { status: 404 });
  }
}

/** Webhooks come here. */
export class Neighbours extends WorkerEntrypoint {
  override fetch(request: Request): Promise<Response> {
    return receive(request);
  }
}
