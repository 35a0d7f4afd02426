// The worker of these tests: the classes under test, and an object that does nothing, whose storage tests open.
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

export default { fetch: () => new Response("tests only", { status: 404 }) };
