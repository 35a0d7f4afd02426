// POST /v1/chat/completions. Clients send the whole history each time; the object named by its beginning restores the
// longest stored prefix. The turn ends when its client goes away.
import { Hono, type Context } from "hono";
import { z } from "zod";
import type { TurnRequest } from "../conversation/protocol.ts";
import { chatMessages, toMessages } from "./chat-messages.ts";
import { chatChunks, chatCompletion } from "./chat-chunks.ts";
import { charged } from "./access.ts";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";
import { wireError } from "./errors.ts";
import { liveBody, patientJson, sseFiller } from "./live-body.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
import { chatName } from "./object-names.ts";
import { readBody } from "./read-body.ts";
import { repeatOf } from "./repeat.ts";
import { formatOf, namingFields, responseFormat, structuredOutputs } from "./reply-format.ts";
import { doneMessage, encodeMessage, sseHeaders } from "./sse.ts";
import { prefixStub, sharedByOf } from "./stubs.ts";
import { finalView, readTurn, type TurnReader } from "./turn-events.ts";
import { chatToolFields, chatTools, toolField } from "./tools.ts";
import { maxTokens, metadata, only, refusing, samplingFields, turnOptions } from "./turn-fields.ts";

export const chatRequest = refusing(
  {
    n: only(1),
    functions: only(),
    function_call: only("none", "auto"),
    modalities: (value) => Array.isArray(value) && value.every((each) => each === "text"),
    audio: only(),
    prediction: only(),
    web_search_options: only(),
  },
  z
    .object({
      ...samplingFields,
      messages: chatMessages,
      ...chatToolFields,
      stream: z.boolean().nullish(),
      stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
      logprobs: z.boolean().nullish(),
      max_tokens: maxTokens,
      max_completion_tokens: maxTokens,
      response_format: responseFormat.nullish(),
      structured_outputs: structuredOutputs.nullish(),
      metadata,
    })
    .refine(({ logprobs, top_logprobs: top }) => logprobs || (top ?? 0) === 0, {
      message: "expected logprobs to be true as well",
      path: ["top_logprobs"],
    }),
);

export const chatCompletions = new Hono<AppEnv>().post("/v1/chat/completions", async (context) => {
  const { value: body, text } = await readBody(context.req, chatRequest);
  const messages = toMessages(body.messages);
  const { format, param } = formatOf(body);
  const tools = chatTools(body);
  const options = turnOptions(body, {
    modelIds: context.var.modelIds(),
    maxTokens: body.max_completion_tokens ?? body.max_tokens,
    maxTokensField: body.max_completion_tokens ? "max_completion_tokens" : "max_tokens",
    topLogProbabilities: body.logprobs ? (body.top_logprobs ?? 0) : null,
    format,
    tools,
    chargedTo: context.var.charge,
    isBatch: callerOf(context.env) !== null,
  });
  const { repeatKey, repeatWithinMs, isNamed } = await repeatOf(context, text, false);
  const request: TurnRequest = {
    place: { kind: "prefix" },
    messages,
    options: { ...options, sharedBy: await sharedByOf(context, options, messages) },
    endsWithClient: true,
    repeatKey,
    repeatWithinMs,
    isNamed,
    metadata: body.metadata ?? {},
  };
  const fields = (ours: string) => (ours === "format" ? param : toolField(ours, "function.parameters"));
  const object = await chatName(options.model, messages, tools?.list);
  const stub = prefixStub(context, object);
  context.var.log.add({ object: stub.id.toString() });
  const turn = readTurn(await charged(context, namingFields(stub.stream(request), fields)), context.req.raw.signal);
  if (body.stream) return streamed(context, object, turn, body.stream_options?.include_usage ?? false);

  return patientJson(context, completed(context, object, turn), turn.abandon);
});

async function completed({ var: { log } }: Context<AppEnv>, object: string, { events }: TurnReader) {
  const logprobs: WireLogProbability[] = [];
  const view = await finalView(events, (token) => logprobs.push(...logProbabilitiesOf(token)));
  log.add({ turn: view.turn });
  return chatCompletion(object, view, view.options.topLogProbabilities === null ? null : logprobs);
}

function streamed(context: Context<AppEnv>, object: string, turn: TurnReader, includeUsage: boolean): Response {
  async function* messages() {
    try {
      for await (const chunk of chatChunks(turn.events, object, includeUsage)) yield encodeMessage(chunk);
      yield doneMessage;
    } catch (error) {
      context.var.log.breakOff(error);
      yield encodeMessage({ error: wireError(error) });
    }
  }
  return context.body(liveBody(messages(), turn.abandon, sseFiller), 200, sseHeaders);
}
