// /v1/tokenize and /v1/detokenize, by vLLM's names: what a text, a raw prompt or a chat is to the model, and back.
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "./context.ts";
import { readBody, unsupported } from "./read-body.ts";
import { workStub } from "./stubs.ts";
import { tokenIds } from "./token-ids.ts";
import { contentOf, knownModel, only, refusing } from "./turn-fields.ts";

const model = z.string().min(1).nullish();
const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: contentOf("text"),
});

export const tokenizeRequest = refusing(
  { add_generation_prompt: only(true), continue_final_message: only(false), return_token_strs: only(false) },
  z
    .object({
      model,
      prompt: z.string().nullish(),
      text: z.string().nullish(),
      messages: z.array(message, "expected a list of messages").min(1, "expected at least one message").nullish(),
      add_special_tokens: z.boolean().nullish(),
    })
    .refine(({ prompt, text, messages }) => [prompt, text, messages].filter((each) => each != null).length === 1, {
      message: "expected either prompt, text or messages",
      path: ["prompt"],
    })
    .refine(({ messages, add_special_tokens: adds }) => !messages || !adds, {
      message: "the chat template has its own, more are not supported",
      path: ["add_special_tokens"],
      ...unsupported,
    }),
);

export const detokenizeRequest = z.object({ model, tokens: tokenIds });

export const tokens = new Hono<AppEnv>()
  .post("/v1/tokenize", async (context) => {
    const { value: body } = await readBody(context.req, tokenizeRequest);
    const { messages, add_special_tokens: addBos } = body;
    const id = modelOf(body.model, context.var.modelIds());
    const stub = workStub(context);
    const ids = await stub.encode(
      messages
        ? { kind: "chat", model: id, messages }
        : { kind: "text", model: id, text: body.prompt ?? body.text ?? "", addBos: addBos ?? true },
    );
    // A Griffin's state does not grow: there is no length at which it ends.
    return context.json({ count: ids.length, max_model_len: null, tokens: ids });
  })
  .post("/v1/detokenize", async (context) => {
    const { value: body } = await readBody(context.req, detokenizeRequest);
    const text = await workStub(context).decode(modelOf(body.model, context.var.modelIds()), body.tokens);
    return context.json({ prompt: text, text });
  });

const modelOf = (id: string | null | undefined, ids: readonly string[]) => knownModel(id ?? ids[0] ?? "", ids);
