// /v1/hooks: addresses that turn signed posts of other services into turns. What is posted to a hook's own address needs no
// key: its signature says who sent it. So POST there is the services', and a hook is changed by PATCH.
import { Hono, type Context } from "hono";
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { mostPostBytes, verifications, type HookView, type ReplyTo } from "../inbox/protocol.ts";
import { secretFault } from "../inbox/signatures.ts";
import { mostTemplateCharacters, templateFault } from "../inbox/templates.ts";
import { newSecret } from "../outbox/signing.ts";
import type { AppEnv } from "./context.ts";
import { errorResponse, requestError } from "./errors.ts";
import { hookDeliveryObject } from "./hook-deliveries.ts";
import { formatJobId, noSuch, parseJobId } from "./ids.ts";
import { listOf } from "./lists.ts";
import { seconds } from "./unix-time.ts";
import { checkShape, readBody, readBytes, wholeNumber } from "./read-body.ts";
import { isSealed, sealedName } from "./sealed-names.ts";
import { found, hookRegistryStub, hookStub, orGone } from "./stubs.ts";
import { maxTokens, turnOptions } from "./turn-fields.ts";
import { checkAddress } from "./webhook-endpoints.ts";

const daySeconds = 86_400;
const mostInstructionCharacters = 100_000;

const name = z.string().min(1).max(200);
const secret = z.string().min(1).max(512);
const template = (what: string) =>
  z
    .string()
    .min(1)
    .max(mostTemplateCharacters)
    .superRefine((text, context) => {
      const message = templateFault(text);
      if (message !== null) context.addIssue({ code: "custom", message });
    })
    .describe(`Liquid template over the payload: ${what}`);

const settings = {
  name: name.nullish(),
  model: z.string().min(1).nullish(),
  instructions: z.string().max(mostInstructionCharacters).nullish().describe("New conversations begin with them"),
  conversation_key: template(
    "posts with the same key go on with one conversation; all do where there is none",
  ).nullish(),
  input: template("what the model is told; where that is nothing the post is ignored"),
  max_output_tokens: maxTokens,
  reply: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("none") }),
      z.strictObject({ type: z.literal("callback"), url: z.string().min(1) }),
      z.strictObject({ type: z.literal("slack") }),
    ])
    .nullish()
    .describe("Where replies go: to a callback, or to Slack's response_url"),
};

export const createHookRequest = z
  .strictObject({
    ...settings,
    verification: z.strictObject({
      type: z.enum(verifications),
      secret: secret.nullish().describe("The service's; made here where there is none, but Slack makes its own"),
    }),
  })
  .superRefine(({ verification: { type, secret: given } }, context) => {
    const path = ["verification", "secret"];
    if (!given && type === "slack") {
      context.addIssue({ code: "custom", message: "expected the signing secret of the Slack app", path });
    }
    const fault = given ? secretFault(type, given) : null;
    if (fault !== null) context.addIssue({ code: "custom", message: fault, path });
  });
export const updateHookRequest = z.strictObject({ ...settings, input: settings.input.optional() });
export const rotateHookRequest = z.strictObject({
  which: z
    .enum(["verification", "signing"])
    .default("verification")
    .describe("What signs posts, or what signs replies"),
  secret: secret.nullish().describe("The service's new one; made here where there is none, but Slack makes its own"),
  grace_seconds: z
    .int()
    .min(0)
    .max(30 * daySeconds)
    .default(daySeconds)
    .describe("So long the secret before is good as well"),
});
export const hooksQuery = z.object({ limit: wholeNumber(1, 100).default(20), after: z.string().optional() });
export const hookDeliveriesQuery = hooksQuery.extend({
  status: z.enum(["queued", "in_progress", "completed", "failed", "ignored"]).optional(),
});

/** Whether a request is what a service posts to a hook: the one thing under /v1 that needs no key. */
export const isHookPost = ({ method, path }: { method: string; path: string }): boolean =>
  method === "POST" && /^\/v1\/hooks\/[^/]+$/.test(path);

/** The headers that say who posts, and what. */
const postHeaders = [
  "webhook-id",
  "webhook-timestamp",
  "webhook-signature",
  "x-hub-signature-256",
  "x-github-delivery",
  "x-slack-signature",
  "x-slack-request-timestamp",
];

export const hooks = new Hono<AppEnv>()
  .post("/v1/hooks", async (context) => {
    const { value } = await readBody(context.req, createHookRequest);
    const replyTo = replyToOf(context, value.reply ?? { type: "none" });
    const options = optionsOf(context, value.model, value.max_output_tokens);
    const { type, secret: given } = value.verification;
    const object = sealedName("hook", context.env);
    const id = formatJobId("hook", object);
    const made = given ? null : newSecret();
    const { tenant, key } = context.var;
    await registry(context).add(id);
    const { view, signingSecret } = await hookStub(context, object).create({
      id,
      tenant,
      key,
      name: value.name ?? type,
      options,
      instructions: value.instructions ?? null,
      conversationKey: value.conversation_key ?? null,
      input: value.input,
      replyTo,
      verification: type,
      secret: given ?? made ?? "",
    });
    return context.json({ ...hookObject(context, view), ...shownOnce(made, signingSecret) });
  })
  .get("/v1/hooks", async (context) => {
    const { after = null, limit } = checkShape(hooksQuery, context.req.query());
    const { ids, isLast } = await registry(context).list(after, limit);
    // One whose making broke off, or that goes at this moment, is none.
    const views = await Promise.all(ids.map((id) => viewOf(context, id).catch(orGone)));
    const gone = ids.filter((_, i) => views[i] === null);
    if (gone.length > 0) await registry(context).dropLeftovers(gone);
    const data = views.filter((view) => view !== null).map((view) => hookObject(context, view));
    return context.json({ ...listOf(data, !isLast), last_id: ids.at(-1) ?? null });
  })
  .get("/v1/hooks/:id", async (context) =>
    context.json(hookObject(context, await viewOf(context, context.req.param("id")))),
  )
  .post("/v1/hooks/:id", async (context) => {
    const body = await readBytes(context.req, mostPostBytes);
    const headers = Object.fromEntries(postHeaders.map((each) => [each, context.req.header(each) ?? ""]));
    const object = objectOf(context.req.param("id"), context.env);
    // Ids that cannot be one are no secret.
    const receipt = object === null ? refused : await hookStub(context, object).receive({ body, headers });
    if (receipt.status === "challenge") return context.json({ challenge: receipt.challenge });
    if (receipt.status === "refused") {
      const message = "There is no such hook, or it is not you who signs what is posted here.";
      return errorResponse(requestError("invalid_api_key", message, null, "invalid_signature"));
    }
    if (receipt.status === "malformed") throw new GriffinError("invalid_argument", receipt.message);
    if (receipt.status === "full") {
      const error = new GriffinError("rate_limited", "Too many posts are waiting here.");
      return errorResponse(error, { "retry-after": String(Math.ceil(receipt.retryAfterMs / 1000)) });
    }
    const { id, status } = receipt.delivery;
    // Slack wants 200, and would show its users whatever stands in the body.
    if (receipt.verification === "slack") return context.body(null, 200);
    return context.json({ id, object: "hook.delivery", status }, 202);
  })
  .patch("/v1/hooks/:id", async (context) => {
    const { value } = await readBody(context.req, updateHookRequest);
    const id = context.req.param("id");
    const { options: before } = await viewOf(context, id);
    const { model = before.model, max_output_tokens: most = before.maxTokens } = value;
    const change = {
      ...(value.name && { name: value.name }),
      options: optionsOf(context, model, most),
      ...(value.instructions !== undefined && { instructions: value.instructions }),
      ...(value.conversation_key !== undefined && { conversationKey: value.conversation_key }),
      ...(value.input !== undefined && { input: value.input }),
      ...(value.reply !== undefined && { replyTo: replyToOf(context, value.reply ?? { type: "none" }) }),
    };
    const { view, signingSecret } = await found(named(context).update(context.var.tenant, change), unknownHook);
    return context.json({ ...hookObject(context, view), ...shownOnce(null, signingSecret) });
  })
  .delete("/v1/hooks/:id", async (context) => {
    const id = context.req.param("id");
    const removed = await named(context)
      .remove(context.var.tenant)
      .then(() => true, orGone);
    // Where its making or its deletion broke off, the registry alone knows of it.
    if (!(await registry(context).remove(id)) && removed === null) throw unknownHook();
    return context.json({ id, object: "hook.deleted", deleted: true });
  })
  .post("/v1/hooks/:id/rotate_secret", async (context) => {
    const { value } = await readBody(context.req, rotateHookRequest);
    const { which, secret: given, grace_seconds: grace } = value;
    const { tenant } = context.var;
    if (which === "signing") {
      if (given) throw requestError("invalid_argument", "secret: what signs replies is made here.", "secret");
      const rotated = named(context).rotateSigning(tenant, grace * 1000);
      const { view, signingSecret } = await found(rotated, unknownHook);
      return context.json({ ...hookObject(context, view), ...shownOnce(null, signingSecret) });
    }
    const { verification } = await viewOf(context, context.req.param("id"));
    const missing = !given && verification === "slack" ? "expected the signing secret of the Slack app" : null;
    const fault = given ? secretFault(verification, given) : missing;
    if (fault !== null) throw requestError("invalid_argument", `secret: ${fault}.`, "secret");
    const made = given ? null : newSecret();
    const view = await found(named(context).rotate(tenant, given ?? made ?? "", grace * 1000), unknownHook);
    return context.json({ ...hookObject(context, view), ...shownOnce(made, null) });
  })
  .get("/v1/hooks/:id/deliveries", async (context) => {
    const { after = null, limit, status = null } = checkShape(hookDeliveriesQuery, context.req.query());
    const listed = named(context).list(context.var.tenant, { after, limit, status });
    const { deliveries, isLast } = await found(listed, unknownHook);
    const hook = context.req.param("id");
    const data = await Promise.all(deliveries.map((view) => hookDeliveryObject(context.env, hook, view)));
    return context.json(listOf(data, !isLast));
  });

/** Deletes all hooks of a tenant. */
export async function removeHooks({ env }: Pick<Context<AppEnv>, "env">, tenant: string): Promise<void> {
  const known = hookRegistryStub({ env }, tenant);
  const { ids } = await known.list(null, Number.MAX_SAFE_INTEGER);
  for (const id of ids) {
    const stub = hookStub({ env }, parseJobId("hook", id));
    await stub.remove(tenant).catch(orGone);
  }
  await known.removeAll();
}

type Asked = Context<AppEnv>;

const refused = { status: "refused" } as const;
const registry = (context: Asked) => hookRegistryStub(context, context.var.tenant);

/** The hook that the path names. */
const named = (context: Context<AppEnv, `${string}/:id`>) =>
  hookStub(context, parseJobId("hook", context.req.param("id")));

/** Another tenant's is as unknown as one that nobody made. */
const viewOf = (context: Asked, id: string): Promise<HookView> =>
  found(hookStub(context, parseJobId("hook", id)).view(context.var.tenant), unknownHook);

const unknownHook = () => noSuch("hook");

/** null where it is no id that this server made. */
function objectOf(id: string, env: Asked["env"]): string | null {
  try {
    const object = parseJobId("hook", id);
    return isSealed("hook", object, env) ? object : null;
  } catch {
    return null;
  }
}

function replyToOf(context: Asked, reply: ReplyTo): ReplyTo {
  if (reply.type === "callback") checkAddress(context, reply.url, "reply.url");
  return reply;
}

const optionsOf = ({ var: { modelIds } }: Asked, model: string | null | undefined, most: number | null | undefined) =>
  turnOptions(
    { model },
    {
      modelIds: modelIds(),
      maxTokens: most,
      maxTokensField: "max_output_tokens",
      topLogProbabilities: null,
      format: null,
      background: true,
    },
  );

/** Secrets that were made just now. */
const shownOnce = (made: string | null, signingSecret: string | null) => ({
  ...(made !== null && { secret: made }),
  ...(signingSecret !== null && { signing_secret: signingSecret }),
});

function hookObject({ req }: Asked, view: HookView) {
  const { replyTo, signing } = view;
  return {
    id: view.id,
    object: "hook" as const,
    created_at: seconds(view.createdMs),
    updated_at: seconds(view.updatedMs),
    name: view.name,
    status: view.closed === null ? ("open" as const) : ("closed" as const),
    closed_reason: view.closed,
    /** Where the service posts to. */
    url: new URL(`/v1/hooks/${view.id}`, req.url).href,
    model: view.options.model,
    instructions: view.instructions,
    verification: {
      type: view.verification,
      secret_hint: view.secretHint,
      previous_secret_until: seconds(view.previousUntilMs),
    },
    conversation_key: view.conversationKey,
    input: view.input,
    max_output_tokens: view.options.maxTokens,
    reply: { type: replyTo.type, url: replyTo.type === "callback" ? replyTo.url : null },
    signing_secret_hint: signing?.secretHint ?? null,
    previous_signing_secret_until: seconds(signing?.previousUntilMs ?? null),
  };
}
