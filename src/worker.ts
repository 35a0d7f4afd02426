// The worker: the app, the consumer of its queue, and the classes of its Durable Objects.
import { consume } from "./batch/consume.ts";
import type { BatchEnv } from "./batch/env.ts";
import { modelIds } from "./conversation/engines.ts";
import { createApp } from "./http/app.ts";
import { runLine } from "./http/batch-lines.ts";

export { Batch } from "./batch/batch.ts";
export { BatchRegistry } from "./batch/registry.ts";
export { Conversation } from "./conversation/conversation.ts";
export { NamedRequest } from "./conversation/named-request.ts";
export { Hook } from "./inbox/hook.ts";
export { HookRegistry } from "./inbox/registry.ts";
export { WebhookEndpoint } from "./outbox/endpoint.ts";
export { WebhookRegistry } from "./outbox/registry.ts";
export { Tenant } from "./tenant/tenant.ts";
export { TenantDirectory } from "./tenant/directory.ts";

const app = createApp({ modelIds, log: (line) => console.log(line) });

export default {
  fetch: app.fetch,
  queue: (batch: Parameters<typeof consume>[0], env: BatchEnv, context: Parameters<typeof runLine>[3]): Promise<void> =>
    consume(batch, env, (call) => runLine(app, call, env, context)),
};
