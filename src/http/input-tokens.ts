// POST /v1/responses/input_tokens: what the same body, sent to /v1/responses, would report as usage.input_tokens.
import { Hono } from "hono";
import type { AppEnv } from "./context.ts";
import { readBody } from "./read-body.ts";
import { randomName } from "./object-names.ts";
import { asked, responseRequest } from "./responses.ts";
import { conversationStub, found, workStub } from "./stubs.ts";
import { responseTools } from "./tools.ts";
import { knownModel } from "./turn-fields.ts";

export const inputTokens = new Hono<AppEnv>().post("/v1/responses/input_tokens", async (context) => {
  const { value: body } = await readBody(context.req, responseRequest);
  const modelIds = context.var.modelIds();
  const model = knownModel(body.model ?? modelIds[0] ?? "", modelIds);
  const tools = responseTools(body);
  const { object, place, unknown, messages } = await asked(context, body, tools, { newObject: randomName() });
  const isNew = place.kind === "after" && place.turn === null;
  const stub = isNew ? workStub(context) : conversationStub(context, object);
  context.var.log.add({ object: stub.id.toString() });
  const count = await found(stub.countTokens({ model, place, messages, tools }), unknown);
  return context.json({ object: "response.input_tokens", input_tokens: count });
});
