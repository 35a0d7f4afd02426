// The app: what every request goes through, then the routes. A request's way on is its route's file, then the object.
import { Hono } from "hono";
import { cors } from "hono/cors";
import { matchedRoutes } from "hono/route";
import { getPath } from "hono/utils/url";
import type { Env } from "../conversation/env.ts";
import { GriffinError } from "../errors.ts";
import { access, adminAccess, checkKey, isOpen, rateHeaders } from "./access.ts";
import { admin } from "./admin.ts";
import { batches } from "./batches.ts";
import { chatCompletions } from "./chat-completions.ts";
import { completions } from "./completions.ts";
import type { AppEnv } from "./context.ts";
import { conversationEvents } from "./conversation-events.ts";
import { conversations } from "./conversations.ts";
import { errorResponse, loggableError, requestError } from "./errors.ts";
import { files, isUpload } from "./files.ts";
import { health } from "./health.ts";
import { hooks, isHookPost } from "./hooks.ts";
import { inputTokens } from "./input-tokens.ts";
import { countRequest, metrics } from "./metrics.ts";
import { items } from "./items.ts";
import { models } from "./models.ts";
import { openApi } from "./openapi.ts";
import { limitBody } from "./read-body.ts";
import { createRequestLog } from "./request-log.ts";
import { responses } from "./responses.ts";
import { isStateFile, states } from "./states.ts";
import { tokens } from "./tokens.ts";
import { transparency } from "./transparency.ts";
import { webhookEndpoints } from "./webhook-endpoints.ts";

export interface AppOptions {
  /** The ids of the configured models, the default first. */
  modelIds: (env: Env) => string[];
  /** Takes a line of the log. */
  log: (line: string) => void;
}

/** Paths that other servers have without a version: for everything that follows they are those below /v1. */
const unversionedPaths = new Set(["/tokenize", "/detokenize"]);

function versionedPath(request: Request): string {
  const path = getPath(request);
  return unversionedPaths.has(path) ? `/v1${path}` : path;
}

export function createApp({ modelIds, log }: AppOptions): Hono<AppEnv> {
  const app = new Hono<AppEnv>({ getPath: versionedPath });
  app.use(async (context, next) => {
    const startMs = Date.now();
    const requestLog = createRequestLog(log);
    context.set("log", requestLog);
    context.set("apiKey", null);
    context.set("tenant", "");
    context.set("key", null);
    context.set("charge", null);
    context.set("modelIds", () => modelIds(context.env));
    await next();
    context.header("x-request-id", requestLog.requestId);
    const route = matchedRoutes(context).findLast(({ path }) => !path.endsWith("*"))?.path ?? "*";
    requestLog.add({ method: context.req.method, route, status: context.res.status });
    requestLog.end();
    countRequest(context.req.method, route, context.res.status, Date.now() - startMs);
  });
  // Keys come in a header, never in a cookie: a page of any origin may ask.
  app.use(
    "/v1/*",
    cors({
      origin: "*",
      exposeHeaders: ["x-request-id", "x-should-retry", "retry-after", "retry-after-ms", ...rateHeaders],
      maxAge: 86_400,
    }),
  );
  app.use("/v1/*", checkKey);
  app.use("/v1/admin/*", adminAccess);
  app.use("/metrics", (context, next) => (isOpen(context.env) ? next() : adminAccess(context, next)));

  // Files have limits of their own, and so has what is posted to hooks.
  app.use("/v1/*", (context, next) =>
    isStateFile(context.req) || isUpload(context.req) || isHookPost(context.req) ? next() : limitBody(context, next),
  );

  app.use("/v1/*", access);

  const api = [
    chatCompletions,
    completions,
    inputTokens,
    responses,
    conversations,
    conversationEvents,
    items,
    states,
    tokens,
    models,
    webhookEndpoints,
    files,
    batches,
    hooks,
    admin,
  ];
  for (const routes of [...api, health, metrics, openApi, transparency]) app.route("/", routes);
  refuseOtherMethods(app);

  app.notFound(async (context) => {
    const { path, method, raw } = context.req;
    const isAsset = !/^\/v1(\/|$)/.test(path) && (method === "GET" || method === "HEAD");
    const asset = isAsset ? await context.env.ASSETS.fetch(raw) : null;
    if (asset !== null && asset.status !== 404) return asset;
    return errorResponse(new GriffinError("not_found", "There is nothing at this address."));
  });
  app.onError((error, context) => {
    context.var.log.add(loggableError(error));
    return errorResponse(error);
  });
  return app;
}

/** Answers 405 on the paths of `app` for every method that has no handler there. */
function refuseOtherMethods(app: Hono<AppEnv>): void {
  const handled = app.routes.filter(({ method }) => method !== "ALL");
  for (const [path, routes] of Map.groupBy(handled, (route) => route.path)) {
    const methods = routes.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method]));
    const allow = [...methods, "OPTIONS"].join(", ");
    app.all(path, (context) => {
      if (context.req.method === "OPTIONS") return context.body(null, 204, { allow });
      const error = requestError("not_found", `This address takes ${allow}.`, null, "method_not_allowed");
      return errorResponse(error, { allow }, 405);
    });
  }
}
