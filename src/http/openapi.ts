// The API about itself: the OpenAPI document, and a page that shows it.
import { Hono } from "hono";
import type { AppEnv } from "./context.ts";
import { openApiDocument } from "./openapi/document.ts";
import { operations } from "./openapi/operations.ts";

let document: string | undefined;

export const openApi = new Hono<AppEnv>()
  .get("/openapi.json", (context) => {
    document ??= JSON.stringify(openApiDocument(operations));
    return context.body(document, 200, { "content-type": "application/json" });
  })
  // The page's files are static ones; its address has no slash at the end, for people type it.
  .get("/docs", (context) => context.env.ASSETS.fetch(new URL("/docs/", context.req.url).href));
