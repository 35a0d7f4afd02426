// /v1/responses. A response is a turn: of a conversation's branch, after another response, or the first of an object of
// its own. It runs on when its client goes away, and is kept until it is deleted; with `store: false` it does neither.
import { Hono, type Context } from "hono";
import { z } from "zod";
import type { Notify, ToolUse, TurnPlace, TurnRequest, TurnView } from "../conversation/protocol.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { registryName } from "../outbox/env.ts";
import { charged } from "./access.ts";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";
import { requestError } from "./errors.ts";
import { formatId, idHead, noSuch, parseId } from "./ids.ts";
import { liveBody, patientJson, sseFiller } from "./live-body.ts";
import { logProbabilitiesOf, type WireLogProbability } from "./log-probabilities.ts";
import { checkShape, readBody, wholeNumber } from "./read-body.ts";
import { continued, resolveInput } from "./references.ts";
import { repeatOf, type Repeat } from "./repeat.ts";
import { formatOf, namingFields, structuredOutputs, textFormat } from "./reply-format.ts";
import { answeredCalls, responseInput, type Answered } from "./response-input.ts";
import { isLastType, responseEvents } from "./response-events.ts";
import { messagesOf, responseObject } from "./response-object.ts";
import { doneMessage, encodeMessage, sseHeaders } from "./sse.ts";
import { conversationStub, found, sharedByOf } from "./stubs.ts";
import { finalView, readTurn, refusalOf, turnError, type TurnReader } from "./turn-events.ts";
import { responseToolFields, responseTools, toolField } from "./tools.ts";
import { maxTokens, metadata, only, refusing, samplingFields, turnOptions } from "./turn-fields.ts";
import { checkAddress, checkSigning } from "./webhook-endpoints.ts";

/** What OpenAI's clients may ask to include; there is only one of these here. */
const includable = [
  "message.output_text.logprobs",
  "reasoning.encrypted_content",
  "file_search_call.results",
  "web_search_call.results",
  "web_search_call.action.sources",
  "message.input_image.image_url",
  "computer_call_output.output.image_url",
  "code_interpreter_call.outputs",
] as const;

export const responseRequest = refusing(
  {
    prompt: only(),
    context_management: only(),
  },
  z
    .object({
      ...samplingFields,
      input: responseInput,
      ...responseToolFields,
      instructions: z.string().nullish(),
      previous_response_id: z.string().nullish(),
      conversation: z
        .union([z.string(), z.object({ id: z.string() })], "expected an id or an object with one")
        .nullish(),
      include: z.array(z.enum(includable)).nullish(),
      text: z.object({ format: textFormat.nullish(), verbosity: z.unknown().optional() }).nullish(),
      structured_outputs: structuredOutputs.nullish(),
      stream: z.boolean().nullish(),
      background: z.boolean().nullish(),
      store: z.boolean().nullish(),
      truncation: z.enum(["auto", "disabled"]).nullish(),
      max_output_tokens: maxTokens,
      metadata,
      webhook_url: z
        .string()
        .nullish()
        .describe("Where to tell of its end, beside the endpoints that want to know: for one in the background"),
    })
    .refine(({ store, background }) => store !== false || !background, {
      message: "a response in the background is kept, or nobody could ask for it",
      path: ["store"],
    })
    .refine(({ webhook_url: url, background }) => !url || background, {
      message: "only a response in the background tells of its end here",
      path: ["webhook_url"],
    })
    .refine(({ store, conversation }) => store !== false || !conversation, {
      message: "a response in a conversation is kept: it is part of it",
      path: ["store"],
    })
    // Without messages of its own a response reads the items that were put into the conversation.
    .refine(
      ({ input: given, previous_response_id, conversation }) => given.length || previous_response_id || conversation,
      {
        message: "expected at least one message",
        path: ["input"],
      },
    )
    .refine(({ previous_response_id: previous, conversation }) => !previous || !conversation, {
      message: "expected either previous_response_id or conversation, got both",
      path: ["previous_response_id"],
    }),
);

type ResponseRequest = z.infer<typeof responseRequest>;

export const retrieveQuery = z.object({
  stream: z.enum(["true", "false"]).optional(),
  starting_after: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
});

export const responses = new Hono<AppEnv>()
  .post("/v1/responses", async (context) => {
    const { value: body, text } = await readBody(context.req, responseRequest);
    const wantsLogprobs = (body.top_logprobs ?? 0) > 0 || body.include?.includes("message.output_text.logprobs");
    const { format, param } = formatOf(body);
    const tools = responseTools(body);
    if (body.webhook_url) {
      checkAddress(context, body.webhook_url, "webhook_url");
      await checkSigning(context, "webhook_url");
    }
    const options = turnOptions(body, {
      modelIds: context.var.modelIds(),
      maxTokens: body.max_output_tokens,
      maxTokensField: "max_output_tokens",
      background: body.background ?? false,
      store: body.store ?? true,
      truncation: body.truncation ?? "disabled",
      topLogProbabilities: wantsLogprobs ? (body.top_logprobs ?? 0) : null,
      format,
      tools,
      chargedTo: context.var.charge,
      isBatch: callerOf(context.env) !== null,
    });
    const repeat = await repeatOf(context, text, !body.conversation && !body.previous_response_id);
    const { object, place, unknown, messages, answered } = await asked(context, body, tools, repeat);
    const request: TurnRequest = {
      place,
      messages,
      // What is not to be kept is not kept for others either.
      options: options.store
        ? {
            ...options,
            sharedBy: await sharedByOf(context, options, messages),
            notify: notifyOf(context, object, body.webhook_url ?? null),
          }
        : options,
      answers: answered.answers,
      endsWithClient: !options.store,
      repeatKey: repeat.repeatKey,
      repeatWithinMs: repeat.repeatWithinMs,
      isNamed: repeat.isNamed,
      metadata: body.metadata ?? {},
    };
    const stub = conversationStub(context, object);
    context.var.log.add({ object: stub.id.toString() });
    const fields = (ours: string) =>
      ours === "format" ? param : (answered.fields(ours) ?? toolField(ours, "parameters"));
    const accepted = <T>(answer: Promise<T>) => charged(context, found(namingFields(answer, fields), unknown));
    if (body.background && !body.stream) {
      const view = await accepted(stub.begin(request));
      context.var.log.add({ turn: view.turn });
      return context.json(responseObject(object, view));
    }
    const turn = readTurn(await accepted(stub.stream(request)), context.req.raw.signal);
    if (body.stream) return streamed(context, object, turn);
    return patientJson(context, finished(context, object, turn), turn.abandon);
  })
  .get("/v1/responses/:id", async (context) => {
    const query = checkShape(retrieveQuery, context.req.query());
    const { object, stub, turn } = namedResponse(context);
    if (query.stream === "true") {
      const reader = readTurn(await found(stub.events(turn), unknownResponse), context.req.raw.signal);
      return streamed(context, object, reader, query.starting_after);
    }
    const view = await found(stub.view(turn), unknownResponse);
    const hasLogprobs = view.options.topLogProbabilities !== null && view.status !== "in_progress";
    if (!hasLogprobs) return context.json(responseObject(object, view));
    const { events } = readTurn(await found(stub.events(turn), unknownResponse), context.req.raw.signal);
    return context.json(await read(object, events));
  })
  .post("/v1/responses/:id/cancel", async (context) => {
    const { object, stub, turn } = namedResponse(context);
    return context.json(responseObject(object, await found(stub.cancel(turn), unknownResponse)));
  })
  .delete("/v1/responses/:id", async (context) => {
    const { object, stub, turn } = namedResponse(context);
    await found(stub.remove(turn), unknownResponse);
    return context.json({ id: formatId("response", { object, number: turn }), object: "response", deleted: true });
  });

async function finished({ var: { log } }: Context<AppEnv>, object: string, { events }: TurnReader) {
  const response = await read(object, events, (view) => {
    log.add({ turn: view.turn });
    if (view.status === "failed" && refusalOf(view) === null) throw turnError(view);
  });
  return response;
}

/** The response with the log-probabilities that its events tell of. */
async function read(object: string, events: TurnReader["events"], check: (view: TurnView) => void = () => undefined) {
  const logprobs: WireLogProbability[] = [];
  const view = await finalView(events, (token) => logprobs.push(...logProbabilitiesOf(token)));
  check(view);
  return responseObject(object, view, logprobs);
}

/** The response that the path names. */
export function namedResponse(context: Context<AppEnv, "/v1/responses/:id">) {
  const { object, number: turn } = parseId("response", context.req.param("id"));
  const stub = conversationStub(context, object);
  context.var.log.add({ object: stub.id.toString(), turn });
  return { object, turn, stub };
}

/** Who is told of a response's end: endpoints of the tenant, and one more address. A batch tells of its own end alone. */
const notifyOf = ({ env, var: { tenant } }: Context<AppEnv>, object: string, url: string | null): Notify | null =>
  url === null && callerOf(env) !== null
    ? null
    : { registry: registryName(tenant), url, idHead: idHead("response", object) };

interface Place {
  object: string;
  place: TurnPlace;
  /** What to say when the object does not know the place. */
  unknown: () => Error;
}

export const unknownResponse = () => noSuch("response");
const unknownConversation = () => requestError("not_found", noSuch("conversation").message, "conversation");
const unknownPrevious = () =>
  requestError("not_found", noSuch("response").message, "previous_response_id", "previous_response_not_found");

/** Where a response goes, what it is asked, and which calls of tools that answers. */
export async function asked(
  context: Context<AppEnv>,
  body: ResponseRequest,
  tools: ToolUse | null,
  repeat: Pick<Repeat, "newObject">,
): Promise<Place & { messages: ChatMessage[]; answered: Answered }> {
  const place = placeOf(body, repeat);
  const { messages: said, lastReply } = await resolveInput(context, body.input);
  const messages = messagesOf(body.instructions, said);
  const whole = () => ({ ...place, messages, answered: answeredCalls(said, place.object) });
  const isNew = !body.conversation && typeof body.previous_response_id !== "string";
  if (!isNew || lastReply === null) return whole();
  const index = lastReply.index + messages.length - said.length;
  const known = await continued(context, messages, tools, { ...lastReply, index });
  if (known === null) return whole();
  const answered = answeredCalls(said, known.object, lastReply.index + 1);
  return { ...place, ...known, place: { kind: "after", turn: known.turn }, answered };
}

/** Where a response goes. One without a place begins an object of its own. */
function placeOf(
  { conversation, previous_response_id: previous }: ResponseRequest,
  { newObject }: Pick<Repeat, "newObject">,
): Place {
  if (typeof conversation === "string" || conversation) {
    const id = typeof conversation === "string" ? conversation : conversation.id;
    const { object, number: branch } = parseId("conversation", id, unknownConversation);
    return { object, place: { kind: "branch", branch }, unknown: unknownConversation };
  }
  if (typeof previous === "string") {
    const { object, number: turn } = parseId("response", previous, unknownPrevious);
    return { object, place: { kind: "after", turn }, unknown: unknownPrevious };
  }
  return { object: newObject, place: { kind: "after", turn: null }, unknown: unknownResponse };
}

/** The response's events after a number, and its last one. */
function streamed(context: Context<AppEnv>, object: string, turn: TurnReader, startingAfter = -1): Response {
  async function* messages() {
    let last = "";
    for await (const event of responseEvents(turn.events, object, context.var.log.breakOff)) {
      last = event.type;
      // Read again, a turn may have fewer events than the reader had got: its end, which has the whole text, always comes.
      const isNew = event.sequence_number > startingAfter || isLastType(last);
      if (isNew) yield encodeMessage(event, event.type);
    }
    if (last !== "error") yield doneMessage;
  }
  return context.body(liveBody(messages(), turn.abandon, sseFiller), 200, sseHeaders);
}
