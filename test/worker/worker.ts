// The worker of these tests: the classes under test, an object that does nothing, whose storage tests open, and a receiver
// of webhooks.
import { receive } from "./receiver.ts";

export { Conversation } from "../../src/conversation/conversation.ts";
export { NamedRequest } from "../../src/conversation/named-request.ts";
export { WebhookEndpoint } from "../../src/outbox/endpoint.ts";
export { WebhookRegistry } from "../../src/outbox/registry.ts";
export { Tenant } from "../../src/tenant/tenant.ts";
export { TenantDirectory } from "../../src/tenant/directory.ts";

export class Bare {
  fetch(): Response {
    return new Response("tests only", { status: 404 });
  }
}

/** Webhooks come here. */
export default { fetch: receive };
