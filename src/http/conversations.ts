// /v1/conversations: branches of an object, their items, and forks.
import { Hono, type Context } from "hono";
import { z } from "zod";
import type { ConversationView } from "../conversation/protocol.ts";
import type { AppEnv } from "./context.ts";
import { conversationItems } from "./conversation-items.ts";
import { requestError } from "./errors.ts";
import { formatId, noSuch, parseId, turnOfItem } from "./ids.ts";
import { checkShape, readBody, wholeNumber } from "./read-body.ts";
import { repeatOf } from "./repeat.ts";
import { conversationStub, found } from "./stubs.ts";
import { metadata, only, refusing } from "./turn-fields.ts";

export const createRequest = refusing({ items: only() }, z.object({ metadata }));
export const updateRequest = z.object({ metadata: metadata.unwrap().unwrap() });
export const forkRequest = z.object({ response_id: z.string().nullish() });
export const listQuery = z.object({
  order: z.enum(["asc", "desc"]).default("desc"),
  limit: wholeNumber(1, 100).default(20),
  after: z.string().optional(),
});

export const conversations = new Hono<AppEnv>()
  .post("/v1/conversations", async (context) => {
    const { value, text } = await readBody(context.req, createRequest);
    const { newObject: object } = await repeatOf(context, text);
    const stub = conversationStub(context, object);
    context.var.log.add({ object: stub.id.toString() });
    const view = await stub.create(value.metadata ?? {});
    return context.json(conversationObject(object, view));
  })
  .get("/v1/conversations/:id", async (context) => {
    const { object, branch, stub } = named(context);
    return context.json(conversationObject(object, await found(stub.branch(branch), unknownConversation)));
  })
  .post("/v1/conversations/:id", async (context) => {
    const { object, branch, stub } = named(context);
    const { value } = await readBody(context.req, updateRequest);
    const view = await found(stub.updateBranch(branch, value.metadata), unknownConversation);
    return context.json(conversationObject(object, view));
  })
  .delete("/v1/conversations/:id", async (context) => {
    const { id, branch, stub } = named(context);
    await found(stub.removeBranch(branch), unknownConversation);
    return context.json({ id, object: "conversation.deleted", deleted: true });
  })
  .get("/v1/conversations/:id/items", async (context) => {
    const query = checkShape(listQuery, context.req.query());
    const { object, branch, stub } = named(context);
    const from = query.after === undefined ? undefined : turnOfListed(object, query.after);
    // A turn has one item at least: one may have been listed to its end, and one more tells whether more come.
    const listing = { order: query.order, from, limit: query.limit + 2 };
    const { turns, isLast } = await found(stub.turns(branch, listing), unknownConversation);
    const isOldestFirst = query.order === "asc";
    const items = conversationItems(object, isOldestFirst ? turns : turns.toReversed());
    return context.json(page(isOldestFirst ? items : items.toReversed(), isLast, query));
  })
  .post("/v1/conversations/:id/fork", async (context) => {
    const { object, branch, stub } = named(context);
    const { value } = await readBody(context.req, forkRequest);
    const turn = value.response_id === undefined ? undefined : forkPoint(object, value.response_id);
    const unknown = typeof turn === "number" ? unknownForkPoint : unknownConversation;
    return context.json(conversationObject(object, await found(stub.fork(branch, turn), unknown)));
  });

/** The conversation that the path names. */
function named(context: Context<AppEnv, "/v1/conversations/:id">) {
  const id = context.req.param("id");
  const { object, number: branch } = parseId("conversation", id);
  const stub = conversationStub(context, object);
  context.var.log.add({ object: stub.id.toString(), branch });
  return { id, object, branch, stub };
}

function conversationObject(object: string, view: ConversationView) {
  const { branch, parentBranch, createdMs, head } = view;
  return {
    id: formatId("conversation", { object, number: branch }),
    object: "conversation" as const,
    created_at: Math.floor(createdMs / 1000),
    metadata: view.metadata,
    /** What it was forked from. */
    parent: parentBranch === null ? null : formatId("conversation", { object, number: parentBranch }),
    /** Its last response. */
    head: head === null ? null : formatId("response", { object, number: head }),
  };
}

/** The turn to fork at; null for the beginning. Responses of other conversations are as unknown as any. */
function forkPoint(object: string, responseId: string | null): number | null {
  if (responseId === null) return null;
  const id = parseId("response", responseId, unknownForkPoint);
  if (id.object !== object) throw unknownForkPoint();
  return id.number;
}

const unknownConversation = () => noSuch("conversation");
const unknownForkPoint = () => requestError("not_found", noSuch("response").message, "response_id");

const unknownItem = () =>
  requestError("invalid_argument", "after: expected the id of an item of this conversation.", "after");

function turnOfListed(object: string, itemId: string): number {
  const id = turnOfItem(itemId);
  if (id?.object !== object) throw unknownItem();
  return id.number;
}

/** A page of a list, from behind the item `after`; `isWhole`: the list ends with these items. */
function page<T extends { id: string }>(
  items: readonly T[],
  isWhole: boolean,
  { after, limit }: z.infer<typeof listQuery>,
) {
  const start = after === undefined ? 0 : items.findIndex(({ id }) => id === after) + 1;
  if (after !== undefined && start === 0) throw unknownItem();
  const data = items.slice(start, start + limit);
  return {
    object: "list" as const,
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: !isWhole || start + data.length < items.length,
  };
}
