// Tools as openai's client uses them, against a real server: demanded, left to the model, forbidden; whole, streamed, and
// there and back. The model is small: what it calls tools with is nonsense, but always of their schemas.
import OpenAI from "openai";
import type { RunnableToolFunctionWithParse } from "openai/lib/RunnableFunction";
import type { ResponseFunctionToolCall } from "openai/resources/responses/responses";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

const model = "pocket";
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 7 } },
  required: ["city", "days"],
  additionalProperties: false,
};
const functions = [
  { name: "get_weather", description: "The weather of the next days", parameters, strict: true },
  { name: "get_time", parameters: { type: "object", properties: {} }, strict: false },
];
const chatTools = functions.map((each) => ({ type: "function" as const, function: each }));
const tools = functions.map((each) => ({ type: "function" as const, ...each }));
const messages = [{ role: "user" as const, content: "How is the weather in Ulm?" }];
const named = { type: "function" as const, function: { name: "get_weather" } };

const refusalOf = (request: PromiseLike<unknown>) =>
  Promise.resolve(request).then(
    () => null,
    (error: unknown) => error,
  );

function expectWeather(text: string | undefined): void {
  const { city, days, ...rest } = JSON.parse(text ?? "") as Record<string, unknown>;
  expect(rest).toEqual({});
  expect((city as string).length).toBeLessThanOrEqual(12);
  expect([1, 2, 3, 4, 5, 6, 7]).toContain(days);
}

/** The one call of a chat completion's message. */
function callIn({ choices }: OpenAI.ChatCompletion) {
  const call = choices[0]?.message.tool_calls?.[0];
  if (call?.type !== "function") throw new Error("there is no call");
  return call;
}

describe("chat completions", () => {
  it("call a tool that is demanded or named, with arguments of its schema", async () => {
    for (const seed of [1, 2, 3]) {
      const answer = await client.chat.completions.create({
        model,
        seed,
        messages,
        tools: chatTools,
        tool_choice: named,
      });
      expect(answer.choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
      expect(callIn(answer)).toMatchObject({ id: expect.stringMatching(/^call_/), function: { name: "get_weather" } });
      expectWeather(callIn(answer).function.arguments);
      const any = await client.chat.completions.create({
        model,
        seed,
        messages,
        tools: chatTools,
        tool_choice: "required",
      });
      expect(["get_weather", "get_time"]).toContain(callIn(any).function.name);
    }
  });

  it("stream the same call in pieces", async () => {
    const asked = { model, seed: 5, messages, tools: chatTools, tool_choice: named };
    const whole = callIn(await client.chat.completions.create(asked));
    const stream = client.chat.completions.stream(asked);
    const pieces: string[] = [];
    stream.on("tool_calls.function.arguments.delta", ({ arguments_delta: delta }) => void pieces.push(delta));
    const streamed = callIn(await stream.finalChatCompletion());
    expect(streamed.function).toMatchObject(whole.function);
    expect(pieces.length).toBeGreaterThan(3);
  });

  it("are text where the model is left to itself, and always where calls are forbidden", async () => {
    for (const choice of ["auto", "none"] as const) {
      const { choices } = await client.chat.completions.create({
        model,
        temperature: 0,
        messages: [{ role: "user", content: "My name is Ada." }],
        tools: chatTools,
        tool_choice: choice,
        max_tokens: 60,
      });
      expect(choices[0]?.message.tool_calls).toBeUndefined();
      expect(choices[0]?.message.content).not.toBe("");
    }
  });

  it("go on from the state of a call when it comes back with its answer", async () => {
    const asked = { model, seed: 2, tools: chatTools };
    const called = await client.chat.completions.create({ ...asked, messages, tool_choice: named });
    const call = callIn(called);
    const answer = { role: "tool" as const, tool_call_id: call.id, content: "Rain, 12 degrees." };
    const history = [...messages, called.choices[0]!.message, answer];
    const next = await client.chat.completions.create({ ...asked, messages: history, max_tokens: 40 });
    expect(next).toMatchObject({ state: "restored" });
    expect(next.usage?.prompt_tokens_details?.cached_tokens).toBe(called.usage?.total_tokens);
    const tokensOf = (text: string) => text.length;
    expect(next.usage!.prompt_tokens - called.usage!.total_tokens).toBeLessThan(tokensOf(answer.content) + 80);
    // Clients that read arguments write them again as JSON.stringify does.
    const [message] = called.choices.map((each) => structuredClone(each.message));
    const [again] = message?.tool_calls ?? [];
    if (again?.type !== "function") throw new Error("there is no call");
    again.function.arguments = JSON.stringify(JSON.parse(again.function.arguments));
    const rewritten = [...messages, message!, answer];
    const repeated = await client.chat.completions.create({ ...asked, messages: rewritten, max_tokens: 4 });
    expect(repeated).toMatchObject({ state: "restored" });
    // Told of other tools, it is another chat.
    const other = await client.chat.completions.create({
      ...asked,
      tools: chatTools.slice(1),
      messages: history,
      max_tokens: 4,
    });
    expect(other).toMatchObject({ state: "cold" });
  });

  it("are cut with what there is of a call", async () => {
    const asked = { model, seed: 1, messages, tools: chatTools, tool_choice: named };
    const whole = await client.chat.completions.create(asked);
    const cut = await client.chat.completions.create({ ...asked, max_tokens: whole.usage!.completion_tokens - 4 });
    expect(cut.choices[0]?.finish_reason).toBe("length");
    expect(callIn(cut).function.name).toBe("get_weather");
    expect(callIn(cut).function.arguments).toContain(callIn(whole).function.arguments);
  });

  it("run the functions of the client's own helper", async () => {
    const given: unknown[] = [];
    const tool: RunnableToolFunctionWithParse<object> = {
      type: "function",
      function: {
        ...functions[0]!,
        description: "The weather of the next days",
        parse: (text) => JSON.parse(text) as object,
        function: (value) => {
          given.push(value);
          return "Rain";
        },
      },
    };
    const asked = { model, seed: 3, messages, max_tokens: 300, tool_choice: named };
    const runner = client.chat.completions.runTools({ ...asked, tools: [tool] }, { maxChatCompletions: 2 });
    await runner.finalChatCompletion();
    for (const value of given) expectWeather(JSON.stringify(value));
    expect(given.length).toBeGreaterThan(0);
  });

  it("are refused where something is wrong with the tools, by name", async () => {
    const bad = [{ type: "function" as const, function: { name: "f", parameters: { type: "object", not: {} } } }];
    const error = await refusalOf(client.chat.completions.create({ model, messages, tools: bad }));
    expect(error).toMatchObject({ status: 400, code: "unsupported", param: "tools[0].function.parameters" });
    const old = { model, messages, functions: [{ name: "f" }] };
    expect(await refusalOf(client.chat.completions.create(old))).toMatchObject({
      code: "unsupported",
      param: "functions",
    });
  });
});

describe("responses", () => {
  const input = "How is the weather in Ulm?";
  const demanded = { model, tools, tool_choice: { type: "function" as const, name: "get_weather" } };
  const callOf = ({ output }: OpenAI.Responses.Response): ResponseFunctionToolCall => {
    if (output[0]?.type !== "function_call") throw new Error("there is no call");
    return output[0];
  };

  it("call, are answered, and go on, with nothing but the answer sent", async () => {
    const called = (await client.responses.create({
      ...demanded,
      input,
      seed: 1,
    } as never)) as OpenAI.Responses.Response;
    const call = callOf(called);
    expect(called.status).toBe("completed");
    expect(call).toMatchObject({ name: "get_weather", status: "completed", id: expect.stringMatching(/^fc_/) });
    expectWeather(call.arguments);
    expect(called.tools).toMatchObject([{ name: "get_weather" }, { name: "get_time" }]);
    const answer = { type: "function_call_output" as const, call_id: call.call_id, output: "Rain, 12 degrees." };
    const next = await client.responses.create({
      model,
      tools,
      input: [answer],
      previous_response_id: called.id,
      max_output_tokens: 60,
      temperature: 0,
    });
    expect(next).toMatchObject({ state: "restored", output: [{ type: "message" }] });
    // Nothing was said twice: neither the tools nor what came before.
    expect(next.usage!.input_tokens - called.usage!.total_tokens).toBeLessThan(60);
    const count = await client.responses.inputTokens.count({
      model,
      tools,
      input: [answer],
      previous_response_id: called.id,
    });
    expect(count.input_tokens).toBe(next.usage!.input_tokens);
  });

  it("do the same in a conversation, whose items tell of it", async () => {
    const { id: conversation } = await client.conversations.create({});
    const called = await client.responses.create({ ...demanded, input, conversation });
    const output = [{ type: "input_text" as const, text: "Rain" }];
    const answer = { type: "function_call_output" as const, call_id: callOf(called).call_id, output };
    await client.responses.create({ model, input: [answer], conversation, max_output_tokens: 8 });
    const items = [];
    for await (const item of client.conversations.items.list(conversation, { order: "asc", limit: 2 }))
      items.push(item);
    expect(items.map(({ type }) => type)).toEqual(["message", "function_call", "function_call_output", "message"]);
    expect(items[1]).toMatchObject({ call_id: callOf(called).call_id, arguments: callOf(called).arguments });
    expect(items[2]).toMatchObject({ call_id: callOf(called).call_id, output: "Rain" });
  });

  it("stream a call, and again as often as they are asked", async () => {
    const stream = await client.responses.create({ ...demanded, input, stream: true });
    const events = [];
    for await (const event of stream) events.push(event);
    const last = events.at(-1);
    if (last?.type !== "response.completed") throw new Error("it did not complete");
    const deltas = events.flatMap((event) =>
      event.type === "response.function_call_arguments.delta" ? [event.delta] : [],
    );
    expect(deltas.join("")).toBe(callOf(last.response).arguments);
    const again = await client.responses.retrieve(last.response.id, { stream: true });
    const repeated = [];
    for await (const event of again) repeated.push(event);
    expect(repeated).toEqual(events);
  });

  it("are refused an answer to a call that was not made before them", async () => {
    const called = await client.responses.create({ ...demanded, input });
    const free = await client.responses.create({ model, input: "Hello.", max_output_tokens: 4 });
    const answer = (id: string) => [{ type: "function_call_output" as const, call_id: id, output: "Rain" }];
    const { call_id: id } = callOf(called);
    for (const [callId, previous] of [
      [id, null],
      ["call_1", called.id],
      [id.replace("call_", "call_a").slice(0, id.length), called.id],
      [id, free.id],
      [`call_${free.id.split("_").slice(1).join("_")}_0`, free.id],
    ] as const) {
      const request = client.responses.create({ model, input: answer(callId), previous_response_id: previous });
      expect(await refusalOf(request), callId).toMatchObject({
        status: 400,
        code: "invalid_argument",
        param: "input[0].call_id",
      });
    }
  });

  it("take calls that another server made, with their answers", async () => {
    const answer = await client.responses.create({
      model,
      tools,
      max_output_tokens: 20,
      input: [
        { role: "user", content: input },
        { type: "function_call", call_id: "call_x", name: "get_weather", arguments: '{"city":"Ulm","days":1}' },
        { type: "function_call_output", call_id: "call_x", output: "Rain" },
      ],
    });
    expect(answer.output.length).toBe(1);
  });
});
