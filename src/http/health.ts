// GET /health: the worker answers.
import { Hono } from "hono";
import type { AppEnv } from "./context.ts";

export const health = new Hono<AppEnv>().get("/health", (context) => context.json({ status: "ok" }));
