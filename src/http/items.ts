// /v1/conversations/{id}/items and /v1/responses/{id}/input_items: what was said, item by item.
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "./context.ts";
import { conversationItems, inputItems } from "./conversation-items.ts";
import { conversationObject, named, unknownConversation } from "./conversations.ts";
import { requestError } from "./errors.ts";
import { noSuch, parseItemId, type ItemId } from "./ids.ts";
import { itemsRequestOf, newItems } from "./new-items.ts";
import { listOf } from "./lists.ts";
import { checkShape, readBody, wholeNumber } from "./read-body.ts";
import { repeatOf } from "./repeat.ts";
import { namedResponse, unknownResponse } from "./responses.ts";
import { found } from "./stubs.ts";

export const listQuery = z.object({
  order: z.enum(["asc", "desc"]).default("desc"),
  limit: wholeNumber(1, 100).default(20),
  after: z.string().optional(),
});
export const appendRequest = z.object({ items: newItems.min(1, "expected at least one item") });

export const items = new Hono<AppEnv>()
  .get("/v1/conversations/:id/items", async (context) => {
    const query = checkShape(listQuery, context.req.query());
    const { object, branch, stub } = named(context);
    const from = query.after === undefined ? undefined : turnToListFrom(object, query.after);
    // A turn has one item at least: one may have been listed to its end, and one more tells whether more come.
    const listing = { order: query.order, from, limit: query.limit + 2 };
    const { turns, isLast } = await found(stub.turns(branch, listing), unknownConversation);
    const oldestFirst = conversationItems(object, query.order === "asc" ? turns : turns.toReversed());
    return context.json(page(oldestFirst, isLast, query));
  })
  .post("/v1/conversations/:id/items", async (context) => {
    const { value, text } = await readBody(context.req, appendRequest);
    const { object, branch, stub } = named(context);
    const request = itemsRequestOf(context, value.items, await repeatOf(context, text, false));
    const view = await found(stub.append(branch, request), unknownConversation);
    return context.json(listOf(conversationItems(object, [view]), false));
  })
  .get("/v1/conversations/:id/items/:item", async (context) => {
    const { object, branch, stub } = named(context);
    const id = itemOf(object, context.req.param("item"));
    const view = await found(stub.turnOn(branch, id.number), unknownItem);
    const item = conversationItems(object, [view]).find((each) => each.id === context.req.param("item"));
    if (item === undefined) throw unknownItem();
    return context.json(item);
  })
  .delete("/v1/conversations/:id/items/:item", async (context) => {
    const { object, branch, stub } = named(context);
    const { number, item } = itemOf(object, context.req.param("item"));
    return context.json(
      conversationObject(context, object, await found(stub.removeItem(branch, number, item), unknownItem)),
    );
  })
  .get("/v1/responses/:id/input_items", async (context) => {
    const query = checkShape(listQuery, context.req.query());
    const { object, stub, turn } = namedResponse(context);
    const view = await found(stub.view(turn), unknownResponse);
    return context.json(page(inputItems(object, view), true, query));
  });

const unknownItem = () => noSuch("item");
const unknownAfter = () => requestError("invalid_argument", "after: expected the id of an item of this list.", "after");

/** An item of an object, as the path names it. */
function itemOf(object: string, text: string): ItemId {
  const id = parseItemId(text);
  if (id?.object !== object) throw unknownItem();
  return id;
}

function turnToListFrom(object: string, itemId: string): number {
  const id = parseItemId(itemId);
  if (id?.object !== object) throw unknownAfter();
  return id.number;
}

/** A page of a list, from behind the item `after`; `isWhole`: nothing comes after these items. */
function page<T extends { id: string }>(
  oldestFirst: readonly T[],
  isWhole: boolean,
  { after, limit, order }: z.infer<typeof listQuery>,
) {
  const all = order === "asc" ? oldestFirst : oldestFirst.toReversed();
  const start = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1;
  if (after !== undefined && start === 0) throw unknownAfter();
  const data = all.slice(start, start + limit);
  return listOf(data, !isWhole || start + data.length < all.length);
}
