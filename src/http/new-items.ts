// Items that clients put into conversations, as they write them.
import type { Context } from "hono";
import { z } from "zod";
import type { ItemsRequest } from "../conversation/protocol.ts";
import type { AppEnv } from "./context.ts";
import type { Repeat } from "./repeat.ts";
import { messageItem } from "./response-input.ts";
import { messagesOf } from "./response-object.ts";
import { turnOptions } from "./turn-fields.ts";

/** OpenAI's limit. */
const mostItems = 20;

export const newItems = z.array(messageItem, "expected a list of items").max(mostItems);

/** The request that puts them there. Who reads them first says how it replies. */
export function itemsRequestOf(
  context: Context<AppEnv>,
  items: z.infer<typeof newItems>,
  { repeatKey, repeatWithinMs, isNamed }: Repeat,
): ItemsRequest {
  const modelIds = context.var.modelIds();
  const options = turnOptions(
    {},
    { modelIds, maxTokens: null, maxTokensField: "", topLogProbabilities: null, format: null },
  );
  return { messages: messagesOf(null, items), options, repeatKey, repeatWithinMs, isNamed };
}
