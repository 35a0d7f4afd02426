// POST /v1/completions, OpenAI's legacy route: raw prompts, no chat template. Nothing is kept: a repeated request is
// computed again. It ends when its client goes away.
import { Hono, type Context } from "hono";
import { z } from "zod";
import {
  mostChoices,
  mostRepliesAPrompt,
  type CompletionEvent,
  type CompletionRequest,
} from "../conversation/completion-protocol.ts";
import { completionChunks, textCompletion, type CompletionHead } from "./completion-choices.ts";
import { charged } from "./access.ts";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";
import { wireError } from "./errors.ts";
import { liveBody, patientJson, sseFiller } from "./live-body.ts";
import { randomName } from "./object-names.ts";
import { written } from "./openapi/written.ts";
import { readBody, unsupported } from "./read-body.ts";
import { formatOf, namingFields, structuredOutputs } from "./reply-format.ts";
import { doneMessage, encodeMessage, sseHeaders } from "./sse.ts";
import { workStub } from "./stubs.ts";
import { isTokenIds } from "./token-ids.ts";
import { readEvents, type EventReader } from "./turn-events.ts";
import { only, refusing, samplingFields, turnOptions } from "./turn-fields.ts";

/** OpenAI's. */
const defaultMaxTokens = 16;
const promptForms = "expected a text, a list of texts, a list of token ids, or a list of such lists";

/** A text or token ids, or a list of these; a list of numbers is one prompt. */
const checkedPrompts = z.unknown().transform((value, context): CompletionRequest["prompts"] => {
  const list = Array.isArray(value) && typeof value[0] !== "number" ? (value as unknown[]) : [value];
  const refuse = (message: string, path: number[] = []) => {
    context.issues.push({ code: "custom", message, path, input: value });
    return z.NEVER;
  };
  if (list.length === 0) return refuse("expected at least one prompt");
  if (list.length > mostChoices) return refuse(`expected at most ${mostChoices} prompts`);
  const checked: CompletionRequest["prompts"] = [];
  for (const [index, prompt] of list.entries()) {
    const path = list.length > 1 || list[0] !== value ? [index] : [];
    if (typeof prompt !== "string" && !isTokenIds(prompt)) return refuse(promptForms, path);
    if (prompt.length === 0 && typeof prompt !== "string") return refuse("expected at least one token", path);
    checked.push(prompt);
  }
  return checked;
});

const tokenIdsForm = { type: "array", minItems: 1, items: { type: "integer", minimum: 0 } };
const prompts = written(checkedPrompts, {
  anyOf: [
    { type: "string" },
    { type: "array", minItems: 1, maxItems: mostChoices, items: { type: "string" } },
    tokenIdsForm,
    { type: "array", minItems: 1, maxItems: mostChoices, items: tokenIdsForm },
  ],
});

export const completionRequest = refusing(
  { suffix: only(""), top_logprobs: only(0) },
  z
    .object({
      ...samplingFields,
      prompt: prompts,
      max_tokens: z
        .int()
        .min(0)
        .max(2 ** 31 - 1)
        .nullish(),
      n: z.int().min(1).max(mostRepliesAPrompt).nullish(),
      best_of: z.int().nullish(),
      echo: z.boolean().nullish(),
      logprobs: z.int().min(0).max(20).nullish(),
      structured_outputs: structuredOutputs.nullish(),
      stream: z.boolean().nullish(),
      stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
    })
    .refine(({ best_of: best, n }) => (best ?? n ?? 1) === (n ?? 1), {
      message: "only as many replies as n are supported",
      path: ["best_of"],
      ...unsupported,
    })
    .refine(({ max_tokens: most, echo }) => most !== 0 || echo, {
      message: "expected 1 or more, or echo to be true",
      path: ["max_tokens"],
    })
    .refine(({ prompt, n }) => prompt.length * (n ?? 1) <= mostChoices, {
      message: `expected at most ${mostChoices} choices, prompts times n`,
      path: ["n"],
    }),
);

export const completions = new Hono<AppEnv>().post("/v1/completions", async (context) => {
  const { value: body } = await readBody(context.req, completionRequest);
  const { format, param } = formatOf(body);
  const options = turnOptions(body, {
    modelIds: context.var.modelIds(),
    maxTokens: body.max_tokens ?? defaultMaxTokens,
    maxTokensField: "max_tokens",
    topLogProbabilities: body.logprobs ?? null,
    format,
    chargedTo: context.var.charge,
    isBatch: callerOf(context.env) !== null,
  });
  const n = body.n ?? 1;
  const stub = workStub(context);
  context.var.log.add({ object: stub.id.toString() });
  const request = { prompts: body.prompt, n, echo: body.echo ?? false, options };
  const fields = (ours: string) => (ours === "format" ? param : undefined);
  const stream = await charged(context, namingFields(stub.complete(request), fields));
  const reader = readEvents(stream, isLast, context.req.raw.signal);
  const created = Math.floor(Date.now() / 1000);
  const head: CompletionHead = { id: `cmpl_${randomName()}`, object: "text_completion", created, model: options.model };
  if (body.stream) return streamed(context, head, reader, body.stream_options?.include_usage ?? false);
  return patientJson(context, textCompletion(head, body.prompt.length * n, reader.events), reader.abandon);
});

const isLast = ({ type }: CompletionEvent) => type === "done" || type === "failed";

function streamed(
  context: Context<AppEnv>,
  head: CompletionHead,
  { events, abandon }: EventReader<CompletionEvent>,
  includeUsage: boolean,
): Response {
  async function* messages() {
    try {
      for await (const chunk of completionChunks(head, events, includeUsage)) yield encodeMessage(chunk);
      yield doneMessage;
    } catch (error) {
      context.var.log.breakOff(error);
      yield encodeMessage({ error: wireError(error) });
    }
  }
  return context.body(liveBody(messages(), abandon, sseFiller), 200, sseHeaders);
}
