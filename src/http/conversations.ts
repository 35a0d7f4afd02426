// /v1/conversations: branches of an object, and forks. Their items are in items.ts.
import { Hono, type Context } from "hono";
import { z } from "zod";
import type { ConversationView, ForkPoint } from "../conversation/protocol.ts";
import { expiryMs, retentionMs } from "../conversation/retention.ts";
import type { AppEnv } from "./context.ts";
import { requestError } from "./errors.ts";
import { formatId, noSuch, parseId, parseItemId } from "./ids.ts";
import { itemsRequestOf, newItems } from "./new-items.ts";
import { readBody } from "./read-body.ts";
import { repeatOf } from "./repeat.ts";
import { conversationStub, found } from "./stubs.ts";
import { metadata } from "./turn-fields.ts";

/** A hundred years. */
const mostSeconds = 3_155_760_000;
const expiresAfter = z
  .object({ anchor: z.literal("last_active_at"), seconds: z.int().min(1).max(mostSeconds) })
  .describe("How long it is kept after it was last used, where that is shorter than this server keeps what it has");

export const createRequest = z.object({
  metadata,
  items: newItems.nullish(),
  expires_after: expiresAfter.nullish(),
});
export const updateRequest = z.object({
  metadata: metadata.unwrap().unwrap(),
  expires_after: expiresAfter.nullish(),
});
export const forkRequest = z
  .strictObject({ response_id: z.string().nullish(), item_id: z.string().nullish() })
  .refine(({ response_id: response, item_id: item }) => response === undefined || !item, {
    message: "expected either response_id or item_id, got both",
    path: ["item_id"],
  });

export const conversations = new Hono<AppEnv>()
  .post("/v1/conversations", async (context) => {
    const { value, text } = await readBody(context.req, createRequest);
    const repeat = await repeatOf(context, text, true);
    const { newObject: object } = repeat;
    const stub = conversationStub(context, object);
    context.var.log.add({ object: stub.id.toString() });
    const items = value.items?.length ? itemsRequestOf(context, value.items, repeat) : null;
    const view = await stub.create(value.metadata ?? {}, items, value.expires_after?.seconds ?? null);
    return context.json(conversationObject(context, object, view));
  })
  .get("/v1/conversations/:id", async (context) => {
    const { object, branch, stub } = named(context);
    return context.json(conversationObject(context, object, await found(stub.branch(branch), unknownConversation)));
  })
  .post("/v1/conversations/:id", async (context) => {
    const { object, branch, stub } = named(context);
    const { value } = await readBody(context.req, updateRequest);
    const seconds = value.expires_after === null ? null : value.expires_after?.seconds;
    const change = { metadata: value.metadata, ...(seconds !== undefined && { expiresAfterS: seconds }) };
    const view = await found(stub.updateBranch(branch, change), unknownConversation);
    return context.json(conversationObject(context, object, view));
  })
  .delete("/v1/conversations/:id", async (context) => {
    const { id, branch, stub } = named(context);
    await found(stub.removeBranch(branch), unknownConversation);
    return context.json({ id, object: "conversation.deleted", deleted: true });
  })
  .post("/v1/conversations/:id/fork", async (context) => {
    const { object, branch, stub } = named(context);
    const { value, text } = await readBody(context.req, forkRequest);
    const point = forkPoint(object, value);
    const { repeatKey, repeatWithinMs } = await repeatOf(context, text, false);
    const unknown = value.item_id ? unknownItem : point?.turn ? unknownForkPoint : unknownConversation;
    const view = await found(stub.fork(branch, point, { repeatKey, repeatWithinMs }), unknown);
    return context.json(conversationObject(context, object, view));
  });

/** The conversation that the path names. */
export function named(context: Context<AppEnv, "/v1/conversations/:id">) {
  const id = context.req.param("id");
  const { object, number: branch } = parseId("conversation", id);
  const stub = conversationStub(context, object);
  context.var.log.add({ object: stub.id.toString(), branch });
  return { id, object, branch, stub };
}

export function conversationObject({ env }: Pick<Context<AppEnv>, "env">, object: string, view: ConversationView) {
  const { branch, parentBranch, createdMs, head, expiresAfterS } = view;
  const goesMs = expiryMs(view, retentionMs(env));
  return {
    id: formatId("conversation", { object, number: branch }),
    object: "conversation" as const,
    created_at: Math.floor(createdMs / 1000),
    metadata: view.metadata,
    /** What it was forked from. */
    parent: parentBranch === null ? null : formatId("conversation", { object, number: parentBranch }),
    /** Its last response. */
    head: head === null ? null : formatId("response", { object, number: head }),
    expires_after: expiresAfterS === null ? null : { anchor: "last_active_at" as const, seconds: expiresAfterS },
    /** When it goes unless it is used before. */
    expires_at: Number.isFinite(goesMs) ? Math.floor(goesMs / 1000) : null,
  };
}

/** Where to fork; null for the end. Responses and items of other conversations are as unknown as any. */
function forkPoint(object: string, { response_id, item_id }: z.infer<typeof forkRequest>): ForkPoint | null {
  if (item_id) {
    const id = parseItemId(item_id);
    if (id?.object !== object) throw unknownItem();
    return { turn: id.number, item: id.item };
  }
  if (response_id === undefined) return null;
  if (response_id === null) return { turn: null, item: null };
  const id = parseId("response", response_id, unknownForkPoint);
  if (id.object !== object) throw unknownForkPoint();
  return { turn: id.number, item: null };
}

export const unknownConversation = () => noSuch("conversation");
const unknownForkPoint = () => requestError("not_found", noSuch("response").message, "response_id");
const unknownItem = () => requestError("not_found", noSuch("item").message, "item_id");
