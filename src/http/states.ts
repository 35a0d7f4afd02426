// GET and PUT /v1/conversations/{id}/state: the model's state after a conversation as a safetensors file, and back. The
// limit of what is read is the model's own, not that of other bodies.
import { Hono } from "hono";
import type { HonoRequest } from "hono";
import { z } from "zod";
import type { AppEnv } from "./context.ts";
import { conversationObject, named, unknownConversation } from "./conversations.ts";
import { checkShape, readBytes } from "./read-body.ts";
import { found } from "./stubs.ts";
import { turnOptions } from "./turn-fields.ts";

export const importQuery = z.object({ model: z.string().min(1).optional() });

/** Whether the body of a request is a state, for which there is another limit. */
export const isStateFile = ({ method, path }: HonoRequest): boolean =>
  method === "PUT" && /^\/v1\/conversations\/[^/]+\/state$/.test(path);

export const states = new Hono<AppEnv>()
  .get("/v1/conversations/:id/state", async (context) => {
    const { id, branch, stub } = named(context);
    const file = await found(stub.exportState(branch), unknownConversation);
    return context.body(new Uint8Array(file), 200, {
      "content-type": "application/octet-stream",
      "content-disposition": `attachment; filename="${id}.safetensors"`,
    });
  })
  .put("/v1/conversations/:id/state", async (context) => {
    const { model } = checkShape(importQuery, context.req.query());
    const { object, branch, stub } = named(context);
    const options = turnOptions(
      { model },
      {
        modelIds: context.var.modelIds(),
        maxTokens: null,
        maxTokensField: "",
        topLogProbabilities: null,
        format: null,
      },
    );
    await found(stub.branch(branch), unknownConversation);
    const file = await readBytes(context.req, await stub.stateFileLimitBytes(options.model));
    const view = await found(stub.importState(branch, file, options), unknownConversation);
    return context.json(conversationObject(context, object, view));
  });
