import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TurnEvent, TurnView } from "../../src/conversation/protocol.ts";
import { conversationItems } from "../../src/http/conversation-items.ts";
import { responseEvents } from "../../src/http/response-events.ts";
import { messagesOf, responseObject, splitMessages } from "../../src/http/response-object.ts";
import { collect, eventsOf, finished, objectName, options, report, started } from "./turns.ts";

const seed = 20_261_123;
const item_id = `msg_${objectName}_3_0`;
const place = { item_id, output_index: 0, content_index: 0 };
const part = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] });
const item = (status: string, content: object[]) => ({
  id: item_id,
  type: "message",
  role: "assistant",
  status,
  content,
});

const response = {
  id: `resp_${objectName}_3`,
  object: "response",
  created_at: 1_700_000_000,
  completed_at: 1_700_000_002,
  status: "completed",
  error: null,
  incomplete_details: null,
  instructions: null,
  model: "pocket",
  output: [item("completed", [part("Hi, Ada!")])],
  previous_response_id: `resp_${objectName}_2`,
  conversation: { id: `conv_${objectName}_0` },
  max_output_tokens: 1024,
  temperature: 1,
  top_p: 1,
  top_logprobs: 0,
  frequency_penalty: 0,
  presence_penalty: 0,
  text: { format: { type: "text" } },
  tools: [],
  tool_choice: "auto",
  parallel_tool_calls: true,
  truncation: "disabled",
  store: true,
  background: false,
  access_programs: null,
  reasoning: null,
  max_tool_calls: null,
  service_tier: "default",
  user: null,
  safety_identifier: null,
  prompt_cache_key: null,
  metadata: { topic: "names" },
  usage: {
    input_tokens: 30,
    input_tokens_details: { cached_tokens: 20, cache_write_tokens: 0 },
    output_tokens: 4,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 34,
  },
  ...report,
};
const refused: TurnView = {
  ...started,
  status: "failed",
  finishedMs: 1_700_000_002_100,
  error: { code: "refused", message: "No." },
};
const begun = {
  ...response,
  status: "in_progress",
  completed_at: null,
  output: [],
  usage: null,
  state: null,
  griffin: null,
};

describe("the events of a response", () => {
  it("come in OpenAI's order, numbered", async () => {
    expect(await collect(responseEvents(eventsOf(finished, ["Hi,", "", " Ada"], "!"), objectName))).toEqual([
      { type: "response.created", sequence_number: 0, response: begun },
      { type: "response.in_progress", sequence_number: 1, response: begun },
      { type: "response.output_item.added", sequence_number: 2, output_index: 0, item: item("in_progress", []) },
      { type: "response.content_part.added", sequence_number: 3, ...place, part: part("") },
      { type: "response.output_text.delta", sequence_number: 4, ...place, delta: "Hi,", logprobs: [] },
      { type: "response.output_text.delta", sequence_number: 5, ...place, delta: " Ada", logprobs: [] },
      { type: "response.output_text.delta", sequence_number: 6, ...place, delta: "!", logprobs: [] },
      { type: "response.output_text.done", sequence_number: 7, ...place, text: "Hi, Ada!", logprobs: [] },
      { type: "response.content_part.done", sequence_number: 8, ...place, part: part("Hi, Ada!") },
      {
        type: "response.output_item.done",
        sequence_number: 9,
        output_index: 0,
        item: item("completed", [part("Hi, Ada!")]),
      },
      { type: "response.completed", sequence_number: 10, response },
    ]);
  });

  it("are the same when the turn is read again after its end, whatever its log still has of it", async () => {
    const texts = fc.array(fc.constantFrom("", "a", "🦊", "\n"), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(texts, fc.option(fc.nat(3)), async (tokens, topLogProbabilities) => {
        const view: TurnView = { ...finished, text: tokens.join(""), options: { ...options, topLogProbabilities } };
        const live = eventsOf(view, tokens, "", { logProbability: -1, bytes: [97], top: [] });
        const later: TurnEvent[] = [{ type: "started", view }, ...eventsOf(view, tokens).slice(1)];
        const withoutLogprobs = async (events: TurnEvent[]) =>
          JSON.stringify(await collect(responseEvents(events, objectName)), (key, value: unknown) =>
            key === "logprobs" ? [] : value,
          );
        expect(await withoutLogprobs(later)).toBe(await withoutLogprobs(live));
      }),
      { seed },
    );
  });

  it.each([
    ["incomplete", "response.incomplete", { reason: "max_output_tokens" }],
    ["cancelled", "response.incomplete", null],
  ] as const)("end with an item that is not whole when the turn was %s", async (status, type, details) => {
    const events = await collect(responseEvents(eventsOf({ ...finished, status }, ["Hi, Ada!"]), objectName));
    expect(events.at(-2)).toMatchObject({ type: "response.output_item.done", item: { status: "incomplete" } });
    expect(events.at(-1)).toMatchObject({
      type,
      response: { status, incomplete_details: details, completed_at: null },
    });
  });

  it("end with response.failed and a cause that leaks nothing when the turn failed", async () => {
    const failed: TurnView = {
      ...started,
      status: "failed",
      error: { code: "internal", message: "secret" },
    };
    const events = await collect(responseEvents(eventsOf(failed, ["Hi"]), objectName));
    expect(events.at(-2)).toMatchObject({ type: "response.output_text.delta", delta: "Hi" });
    expect(events.at(-1)).toMatchObject({
      type: "response.failed",
      response: {
        status: "failed",
        output: [],
        error: { code: "server_error", message: "The server failed to answer this request." },
      },
    });
    expect(JSON.stringify(events)).not.toContain("secret");
  });

  it("end with a refusal where moderation refused the message", async () => {
    const events = await collect(responseEvents(eventsOf(refused, []), objectName));
    const content = [{ type: "refusal", refusal: "No." }];
    const output = [item("incomplete", content)];
    expect(events.slice(3)).toMatchObject([
      { type: "response.content_part.added", sequence_number: 3, ...place, part: { type: "refusal", refusal: "" } },
      { type: "response.refusal.delta", ...place, delta: "No." },
      { type: "response.refusal.done", ...place, refusal: "No." },
      { type: "response.content_part.done", ...place, part: content[0] },
      { type: "response.output_item.done", item: output[0] },
      {
        type: "response.incomplete",
        response: { status: "incomplete", error: null, incomplete_details: { reason: "content_filter" }, output },
      },
    ]);
  });

  it("end with a refusal behind what was said before moderation refused the rest", async () => {
    const events = await collect(responseEvents(eventsOf(refused, ["Hi"]), objectName));
    const content = [part("Hi"), { type: "refusal", refusal: "No." }];
    expect(events.filter(({ type }) => type.startsWith("response.refusal"))).toMatchObject([
      { content_index: 1, delta: "No." },
      { content_index: 1, refusal: "No." },
    ]);
    expect(events.at(-2)).toMatchObject({ item: { content } });
    expect(events.at(-1)).toMatchObject({ response: { output: [item("incomplete", content)] } });
    expect(responseObject(objectName, refused).output).toEqual([item("incomplete", content.slice(1))]);
  });

  it("end a call that was refused in the middle, and say so in a message behind it", async () => {
    const asked: TurnView = { ...refused, mayCall: true };
    const texts = ['<tool_call>\n{"name": "f", "arguments": ', '{"a":'];
    const events = await collect(
      responseEvents(
        eventsOf(asked, texts).map((event) =>
          event.type === "started" ? { ...event, view: { ...event.view, mayCall: true } } : event,
        ),
        objectName,
      ),
    );
    const types = events.map(({ type }) => type.replace("response.", ""));
    expect(types).toEqual([
      "created",
      "in_progress",
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
      "output_item.added",
      "content_part.added",
      "refusal.delta",
      "refusal.done",
      "content_part.done",
      "output_item.done",
      "incomplete",
    ]);
    expect(
      events.slice(6).every(({ output_index: index, type }) => index === 1 || type === "response.incomplete"),
    ).toBe(true);
    const { output } = (events.at(-1) as unknown as { response: { output: object[] } }).response;
    expect(output).toMatchObject([
      { type: "function_call", name: "f", arguments: '{"a":', status: "incomplete" },
      { type: "message", status: "incomplete", content: [{ type: "refusal", refusal: "No." }] },
    ]);
  });

  it("end with one typed error when the turn cannot be read to its end", async () => {
    const errors: unknown[] = [];
    const cut = eventsOf(finished, ["Hi"]).slice(0, -1);
    const events = await collect(responseEvents(cut, objectName, (error) => errors.push(error)));
    expect(events.at(-1)).toEqual({
      type: "error",
      sequence_number: 5,
      code: "internal",
      message: "The server failed to answer this request.",
      param: null,
    });
    expect(errors).toHaveLength(1);
  });

  it("carry log-probabilities in every place that has them", async () => {
    const view: TurnView = { ...finished, text: "Hi", options: { ...options, topLogProbabilities: 0 } };
    const events = await collect(
      responseEvents(eventsOf(view, ["Hi"], "", { logProbability: -1, bytes: [72, 105], top: [] }), objectName),
    );
    const logprobs = [{ token: "Hi", bytes: [72, 105], logprob: -1, top_logprobs: [] }];
    expect(events[4]).toMatchObject({ delta: "Hi", logprobs });
    expect(events[5]).toMatchObject({ type: "response.output_text.done", logprobs });
    expect(events[8]).toMatchObject({ response: { output: [{ content: [{ logprobs }] }] } });
  });
});

describe("a response", () => {
  it("tells its instructions from its input", () => {
    const messages = messagesOf("Be brief.", [
      { role: "system", content: "Be kind." },
      { role: "user", content: "Hello" },
    ]);
    expect(splitMessages({ messages })).toEqual({
      instructions: "Be brief.",
      input: [
        { role: "developer", content: "Be kind." },
        { role: "user", content: "Hello" },
      ],
    });
    expect(splitMessages({ messages: messagesOf(null, [{ role: "system", content: "Be kind." }]) })).toEqual({
      instructions: null,
      input: [{ role: "developer", content: "Be kind." }],
    });
  });

  it("shows what there is of its reply while it runs", () => {
    expect(responseObject(objectName, started).output).toEqual([]);
    const { status, output } = responseObject(objectName, { ...started, text: "Hi," });
    expect({ status, output }).toEqual({ status: "in_progress", output: [item("in_progress", [part("Hi,")])] });
  });

  it("stands alone without a parent or a branch", () => {
    const { previous_response_id, conversation } = responseObject(objectName, {
      ...finished,
      parent: null,
      branch: null,
    });
    expect({ previous_response_id, conversation }).toEqual({ previous_response_id: null, conversation: null });
  });
});

describe("the items of a conversation", () => {
  it("are each turn's input and its reply, without instructions", () => {
    const view: TurnView = {
      ...finished,
      messages: messagesOf("Be brief.", [
        { role: "assistant", content: "Hello." },
        { role: "user", content: "I am Ada." },
      ]),
    };
    const response_id = `resp_${objectName}_3`;
    const common = { type: "message", status: "completed", response_id };
    expect(conversationItems(objectName, [view])).toEqual([
      { id: `msg_${objectName}_3_1`, role: "assistant", content: [part("Hello.")], ...common },
      { id: `msg_${objectName}_3_2`, role: "user", content: [{ type: "input_text", text: "I am Ada." }], ...common },
      {
        id: `msg_${objectName}_3_0`,
        role: "assistant",
        content: [part("Hi, Ada!")],
        ...common,
        response_status: "completed",
        previous_response_id: `resp_${objectName}_2`,
        usage: response.usage,
        state: "restored",
        griffin: response.griffin,
      },
    ]);
  });
});
