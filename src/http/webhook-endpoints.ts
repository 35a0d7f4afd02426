// /v1/webhook_endpoints, in OpenAI's shape: where a tenant's events go, what was told there, and telling it anew. And
// /v1/webhook_signing_secret, which signs what goes to addresses that were named for one response alone.
import { Hono, type Context } from "hono";
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { addressFault } from "../outbox/addresses.ts";
import { isTaken } from "../outbox/attempt.ts";
import { endpointOf, isDevelopment, registryName, registryOf } from "../outbox/env.ts";
import { eventTypes, testEvent } from "../outbox/events.ts";
import type { Attempt, DeliveryView, EndpointView, SigningSecretView } from "../outbox/protocol.ts";
import type { AppEnv } from "./context.ts";
import { requestError } from "./errors.ts";
import { listOf } from "./lists.ts";
import { randomName } from "./object-names.ts";
import { seconds } from "./unix-time.ts";
import { checkShape, readBody, wholeNumber } from "./read-body.ts";
import { found } from "./stubs.ts";

const daySeconds = 86_400;
const mostNameCharacters = 200;

const name = z.string().min(1).max(mostNameCharacters);
const url = z.string().min(1).describe("https, on the public internet, at port 443 or from 1024");
const types = z
  .array(z.enum(eventTypes))
  .min(1)
  .transform((list) => [...new Set(list)]);
const time = z.int().min(0).describe("Unix time in seconds");

export const createEndpointRequest = z.strictObject({
  name: name.nullish().describe("The host of the URL unless told"),
  url,
  event_types: types.nullish().describe("All that there are unless told"),
});
export const updateEndpointRequest = z.strictObject({
  name: name.optional(),
  url: url.optional(),
  event_types: types.optional(),
  status: z.enum(["enabled", "disabled"]).optional(),
});
export const rotateSecretRequest = z.strictObject({
  keep_old_secret_active_for_24_hours: z.boolean().nullish(),
  grace_seconds: z
    .int()
    .min(0)
    .max(30 * daySeconds)
    .nullish()
    .describe("So long the secret before signs as well; a day unless told"),
});
export const testEndpointRequest = z.strictObject({ event_type: z.enum(eventTypes).default("response.completed") });
export const replayRequest = z.strictObject({
  from: time,
  to: time,
  status: z.enum(["delivered", "failed"]).nullish().describe("Only those; both unless told"),
});
export const endpointsQuery = z.object({ limit: wholeNumber(1, 100).default(20), after: z.string().optional() });
export const deliveriesQuery = endpointsQuery.extend({
  status: z.enum(["pending", "delivered", "failed"]).optional(),
});

export const webhookEndpoints = new Hono<AppEnv>()
  .get("/v1/webhook_event_types", (context) => context.json({ object: "list", data: eventTypes }))
  .post("/v1/webhook_endpoints", async (context) => {
    const { value } = await readBody(context.req, createEndpointRequest);
    checkAddress(context, value.url, "url");
    const made = await registry(context).create(registryName(context.var.tenant), `whe_${randomName()}`, {
      name: value.name ?? new URL(value.url).host,
      url: value.url,
      eventTypes: value.event_types ?? [...eventTypes],
    });
    return context.json({ ...endpointObject(made.view), signing_secret: made.secret });
  })
  .get("/v1/webhook_endpoints", async (context) => {
    const { after = null, limit } = checkShape(endpointsQuery, context.req.query());
    const { endpoints, isLast } = await registry(context).list(after, limit);
    return context.json(listOf(endpoints.map(endpointObject), !isLast));
  })
  .get("/v1/webhook_endpoints/:id", async (context) => context.json(endpointObject(await viewOf(context))))
  .post("/v1/webhook_endpoints/:id", async (context) => {
    const { value } = await readBody(context.req, updateEndpointRequest);
    if (value.url !== undefined) checkAddress(context, value.url, "url");
    const change = {
      ...(value.name !== undefined && { name: value.name }),
      ...(value.url !== undefined && { url: value.url }),
      ...(value.event_types !== undefined && { eventTypes: value.event_types }),
      ...(value.status !== undefined && { isEnabled: value.status === "enabled" }),
    };
    const view = await found(registry(context).update(context.req.param("id"), change), unknownEndpoint);
    return context.json(endpointObject(view));
  })
  .delete("/v1/webhook_endpoints/:id", async (context) => {
    const id = context.req.param("id");
    await found(registry(context).remove(id), unknownEndpoint);
    return context.json({ id, object: "webhook_endpoint.deleted", deleted: true });
  })
  .post("/v1/webhook_endpoints/:id/rotate_secret", async (context) => {
    const { value } = await readBody(context.req, rotateSecretRequest);
    const rotation = registry(context).rotate(context.req.param("id"), graceMs(value));
    const { view, secret } = await found(rotation, unknownEndpoint);
    return context.json({ ...endpointObject(view), signing_secret: secret });
  })
  .post("/v1/webhook_endpoints/:id/test", async (context) => {
    const { value } = await readBody(context.req, testEndpointRequest);
    const { id } = await viewOf(context);
    const owner = { registry: registryName(context.var.tenant), to: { endpoint: id } };
    const type = value.event_type;
    const event = testEvent(type, randomName(), Date.now());
    const attempt = await found(deliveries(context, id).tryOut(owner, event), unknownEndpoint);
    return context.json({
      object: "webhook_endpoint.test",
      webhook_endpoint_id: id,
      event_id: event.id,
      event_type: type,
      success: attempt.status !== null,
      delivered: isTaken(attempt),
      status_code: attempt.status,
      error: attempt.error,
    });
  })
  .get("/v1/webhook_endpoints/:id/deliveries", async (context) => {
    const { after = null, limit, status = null } = checkShape(deliveriesQuery, context.req.query());
    const { id } = await viewOf(context);
    const page = await deliveries(context, id).list({ after, limit, status });
    return context.json(listOf(page.deliveries.map(deliveryObject), !page.isLast));
  })
  .post("/v1/webhook_endpoints/:id/deliveries/:event/replay", async (context) => {
    const id = await enabled(context);
    const replayed = deliveries(context, id).replay(context.req.param("event"));
    return context.json(deliveryObject(await found(replayed, unknownEvent)));
  })
  .post("/v1/webhook_endpoints/:id/replay", async (context) => {
    const { value } = await readBody(context.req, replayRequest);
    const id = await enabled(context);
    const range = { fromMs: value.from * 1000, toMs: value.to * 1000 + 999, status: value.status ?? null };
    const count = await deliveries(context, id).replayAll(range);
    return context.json({ object: "webhook_endpoint.replay", webhook_endpoint_id: id, count });
  })
  .get("/v1/webhook_signing_secret", async (context) => {
    const view = await registry(context).signingSecret();
    if (view === null) throw new GriffinError("not_found", "There is no signing secret yet: rotating makes one.");
    return context.json(signingObject(view));
  })
  .post("/v1/webhook_signing_secret/rotate_secret", async (context) => {
    const { value } = await readBody(context.req, rotateSecretRequest);
    const { view, secret } = await registry(context).rotateSigningSecret(graceMs(value));
    return context.json({ ...signingObject(view), signing_secret: secret });
  });

type Asked = Context<AppEnv>;

const registry = ({ env, var: { tenant } }: Asked) => registryOf(env, registryName(tenant));
const deliveries = ({ env, var: { tenant } }: Asked, id: string) => endpointOf(env, registryName(tenant), id);

/** The endpoint that the path names. Another tenant's is as unknown as one that nobody made. */
const viewOf = (context: Context<AppEnv, `${string}/:id`>): Promise<EndpointView> =>
  found(registry(context).view(context.req.param("id")), unknownEndpoint);

/** Its id, where events may go to it. */
async function enabled(context: Context<AppEnv, `${string}/:id`>): Promise<string> {
  const { id, disabled } = await viewOf(context);
  if (disabled === null) return id;
  throw new GriffinError("invalid_argument", "The endpoint is disabled: enable it first.");
}

/** Throws `invalid_argument` where webhooks may not go to this address, which the field `param` names. */
export function checkAddress({ env }: Pick<Asked, "env">, address: string, param: string): void {
  const fault = addressFault(address, isDevelopment(env));
  if (fault !== null) throw requestError("invalid_argument", `${param}: ${fault}.`, param);
}

/** Throws `invalid_argument` where what goes to an address of its own, which `param` names, could not be signed. */
export async function checkSigning(context: Asked, param: string): Promise<void> {
  if ((await registry(context).signingSecret()) !== null) return;
  const message = `${param}: nothing would sign it yet; POST /v1/webhook_signing_secret/rotate_secret makes a secret.`;
  throw requestError("invalid_argument", message, param);
}

const unknownEndpoint = () => new GriffinError("not_found", "There is no webhook endpoint with this id.");
const unknownEvent = () => new GriffinError("not_found", "There is no event with this id in the log.");

function graceMs(request: z.infer<typeof rotateSecretRequest>): number {
  const { grace_seconds: grace, keep_old_secret_active_for_24_hours: keeps } = request;
  return (grace ?? (keeps === false ? 0 : daySeconds)) * 1000;
}

const endpointObject = (view: EndpointView) => ({
  id: view.id,
  object: "webhook_endpoint" as const,
  created_at: seconds(view.createdMs),
  updated_at: seconds(view.updatedMs),
  name: view.name,
  url: view.url,
  event_types: view.eventTypes,
  signing_secret_hint: view.secretHint,
  previous_secret_until: seconds(view.previousUntilMs),
  status: view.disabled === null ? ("enabled" as const) : ("disabled" as const),
  disabled_at: seconds(view.disabled?.atMs ?? null),
  disabled_reason: view.disabled?.reason ?? null,
});

const signingObject = (view: SigningSecretView) => ({
  object: "webhook_signing_secret" as const,
  created_at: seconds(view.createdMs),
  signing_secret_hint: view.secretHint,
  previous_secret_until: seconds(view.previousUntilMs),
});

const deliveryObject = ({ event, type, status, createdMs, nextAttemptMs, attempts }: DeliveryView) => ({
  id: event,
  object: "webhook_delivery" as const,
  type,
  status,
  created_at: seconds(createdMs),
  next_attempt_at: seconds(nextAttemptMs),
  attempts: attempts.map(attemptObject),
});

export const attemptObject = ({ atMs, durationMs, status, error }: Attempt) => ({
  at: seconds(atMs),
  duration_ms: durationMs,
  status_code: status,
  error,
});
