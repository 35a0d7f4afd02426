// The worker: the app, and the classes of its Durable Objects.
import { modelIds } from "./conversation/engines.ts";
import { createApp } from "./http/app.ts";

export { Conversation } from "./conversation/conversation.ts";
export { NamedRequest } from "./conversation/named-request.ts";
export { WebhookEndpoint } from "./outbox/endpoint.ts";
export { WebhookRegistry } from "./outbox/registry.ts";
export { Tenant } from "./tenant/tenant.ts";
export { TenantDirectory } from "./tenant/directory.ts";

export default createApp({ modelIds, log: (line) => console.log(line) });
