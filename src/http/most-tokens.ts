// The most tokens that a request can run through the model, told before it is looked at closely: what its reply may have,
// and a token for each byte of its body, for no text has more. What is not a request of work runs none.
import type { Context } from "hono";
import type { AppEnv } from "./context.ts";
import { defaultMaxTokens } from "./turn-fields.ts";

/** Routes that reply → how long a reply is unless told. */
const replies: Readonly<Record<string, number>> = {
  "/v1/chat/completions": defaultMaxTokens,
  "/v1/responses": defaultMaxTokens,
  "/v1/completions": 16,
};

const limitFields = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/** null where the request runs no tokens. The body stays there to be read. */
export async function mostTokensOf({ req }: Context<AppEnv>): Promise<number | null> {
  const usual = req.method === "POST" ? replies[req.path] : undefined;
  if (usual === undefined) return null;
  const bytes = await req.arrayBuffer().catch(() => new ArrayBuffer(0));
  const body = fieldsOf(bytes);
  const asked = limitFields.map((name) => body[name]).filter((value) => Number.isSafeInteger(value)) as number[];
  const reply = asked.length > 0 ? Math.max(0, ...asked) : usual;
  return bytes.byteLength + choicesOf(body) * reply;
}

/** How many replies there are. */
function choicesOf({ n, prompt }: Record<string, unknown>): number {
  const prompts = Array.isArray(prompt) && typeof prompt[0] !== "number" ? prompt.length : 1;
  return prompts * (typeof n === "number" && n >= 1 && n <= 128 ? n : 1);
}

function fieldsOf(bytes: ArrayBuffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {}; // whoever reads the body says what is wrong with it
  }
}
