// /v1/models: the configured checkpoints.
import { Hono } from "hono";
import type { AppEnv } from "./context.ts";
import { knownModel } from "./turn-fields.ts";

const modelObject = (id: string) => ({ id, object: "model" as const, created: 0, owned_by: "griffin-edge" });

export const models = new Hono<AppEnv>()
  .get("/v1/models", (context) => context.json({ object: "list", data: context.var.modelIds().map(modelObject) }))
  .get("/v1/models/:id{.+}", (context) =>
    context.json(modelObject(knownModel(context.req.param("id"), context.var.modelIds()))),
  );
