// The most tokens that a request can run through the model, told before it is looked at closely: what its reply may have,
// and a token for each byte of its body, for no text has more. What is not a request of work runs none.
import type { Context } from "hono";
import type { AppEnv } from "./context.ts";
import { jsonOf } from "./read-body.ts";
import { defaultMaxTokens } from "./turn-fields.ts";

/** Routes that reply → the fields that they read of how long a reply may be, the first one that is there; and else. */
const replies: Readonly<Record<string, { fields: readonly string[]; usual: number }>> = {
  "/v1/chat/completions": { fields: ["max_completion_tokens", "max_tokens"], usual: defaultMaxTokens },
  "/v1/responses": { fields: ["max_output_tokens"], usual: defaultMaxTokens },
  "/v1/completions": { fields: ["max_tokens"], usual: 16 },
};

/** null where the request runs no tokens. The body stays there to be read. */
export async function mostTokensOf({ req }: Context<AppEnv>): Promise<number | null> {
  const route = req.method === "POST" ? replies[req.path] : undefined;
  if (route === undefined) return null;
  // Whoever reads the body after this says what is wrong with it.
  const { value: sent, bytes } = await jsonOf(req).catch(() => ({ value: null, bytes: 0 }));
  const body: Record<string, unknown> = typeof sent === "object" && sent !== null ? { ...sent } : {};
  const asked = route.fields.map((name) => body[name]).find((value) => value !== undefined && value !== null);
  // What is no such number is refused by the route.
  const reply = Number.isSafeInteger(asked) && Number(asked) >= 0 ? Number(asked) : route.usual;
  return Math.min(bytes + Math.ceil(choicesOf(body)) * reply, Number.MAX_SAFE_INTEGER);
}

/** How many replies there are. */
function choicesOf({ n, prompt }: Record<string, unknown>): number {
  const prompts = Array.isArray(prompt) && typeof prompt[0] !== "number" ? prompt.length : 1;
  return prompts * (typeof n === "number" && n >= 1 && n <= 128 ? n : 1);
}
