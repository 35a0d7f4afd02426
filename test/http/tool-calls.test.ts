// Calls of tools: requests and their messages, and what replies that are calls look like, whole and in pieces.
import fc from "fast-check";
import type { ChatMessage } from "../../src/model/chat-template.ts";
import { describe, expect, it } from "vitest";
import type { ToolUse, TurnView } from "../../src/conversation/protocol.ts";
import { chatChunks, chatCompletion } from "../../src/http/chat-chunks.ts";
import { chatRequest } from "../../src/http/chat-completions.ts";
import { toMessages } from "../../src/http/chat-messages.ts";
import { conversationItems } from "../../src/http/conversation-items.ts";
import { checkShape } from "../../src/http/read-body.ts";
import { responseEvents } from "../../src/http/response-events.ts";
import { answeredCalls } from "../../src/http/response-input.ts";
import { responseObject } from "../../src/http/response-object.ts";
import { responseRequest } from "../../src/http/responses.ts";
import { createReplyReader, type ReplyPiece } from "../../src/http/tool-calls.ts";
import { chatTools, responseTools } from "../../src/http/tools.ts";
import { callText, readCall } from "../../src/model/tool-text.ts";
import { collect, eventsOf, finished, objectName, fault } from "./turns.ts";

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { name: "get_weather", description: "How it is outside", parameters, strict: true };
const args = '{"city": "Ulm", "when": {"day": 1}}';
const call = callText("get_weather", args);
const callId = `call_${objectName}_3_0`;
const user = { role: "user", content: "How is it in Ulm?" };
const chat = (change: object) => checkShape(chatRequest, { messages: [user], ...change });
const response = (change: object) => checkShape(responseRequest, { input: "Hi", ...change });
const tools: ToolUse = responseTools(response({ tools: [{ type: "function", ...weather }] }))!;
const called: TurnView = { ...finished, options: { ...finished.options, tools }, mayCall: true, text: call };

describe("tools", () => {
  it("are the same under the names of both APIs", () => {
    const inChat = chatTools(chat({ tools: [{ type: "function", function: weather }] }));
    expect(inChat).toEqual(tools);
    expect(tools).toMatchObject({ choice: "auto", isParallel: true, list: [{ name: "get_weather", strict: true }] });
    expect(responseTools(response({ tools: [] }))).toBeNull();
  });

  it("may be left to the model, forbidden, demanded, or named", () => {
    const asked = { tools: [{ type: "function", function: weather }] };
    for (const choice of ["none", "auto", "required"]) {
      expect(chatTools(chat({ ...asked, tool_choice: choice }))?.choice).toBe(choice);
    }
    const named = { type: "function", function: { name: "get_weather" } };
    expect(chatTools(chat({ ...asked, tool_choice: named }))?.choice).toEqual({ name: "get_weather" });
  });

  it("have an object of arguments, an empty one where nothing is said", () => {
    const of = (given: unknown) =>
      JSON.parse(
        responseTools(response({ tools: [{ type: "function", name: "f", parameters: given }] }))!.list[0]!.parameters,
      );
    expect(of(null)).toEqual({ type: "object", properties: {}, additionalProperties: false });
    expect(of({ properties: {} })).toEqual({ type: "object", properties: {} });
  });

  it("that are none are refused by name", () => {
    const tool = (change: object) => ({ type: "function", function: { ...weather, ...change } });
    expect(fault(() => chat({ tools: [{ type: "custom" }] }))).toEqual(["unsupported", "tools[0].type"]);
    expect(fault(() => chat({ tools: [tool({ name: "a b" })] }))).toEqual([
      "invalid_argument",
      "tools[0].function.name",
    ]);
    expect(fault(() => chat({ tool_choice: "sometimes" }))).toEqual(["invalid_argument", "tool_choice"]);
    for (const [asked, param] of [
      [{ tools: [tool({}), tool({})] }, "tools[1].function.name"],
      [{ tools: [tool({ parameters: { type: "string" } })] }, "tools[0].function.parameters"],
      [{ tool_choice: "required" }, "tool_choice"],
      [{ tools: [tool({})], tool_choice: { type: "function", function: { name: "other" } } }, "tool_choice"],
    ] as const) {
      expect(fault(() => chatTools(chat(asked)))).toEqual(["invalid_argument", param]);
    }
  });
});

describe("messages of a chat", () => {
  const toolCalls = [{ id: "a", type: "function", function: { name: "get_weather", arguments: args } }];

  it("that call tools are the text that the model wrote", () => {
    const { messages } = chat({
      messages: [
        user,
        { role: "assistant", content: null, tool_calls: toolCalls },
        { role: "tool", tool_call_id: "a", content: "Rain" },
      ],
    });
    expect(toMessages(messages)).toEqual([
      user,
      { role: "assistant", content: call },
      { role: "tool", content: "Rain", callId: "a" },
    ]);
  });

  it("answer calls that were made", () => {
    const answer = { role: "tool", tool_call_id: "b", content: "Rain" };
    const messages = [user, { role: "assistant", tool_calls: toolCalls }, answer];
    expect(fault(() => chat({ messages }))).toEqual(["invalid_argument", "messages[2].tool_call_id"]);
    const nameless = [user, { role: "tool", content: "Rain" }];
    expect(fault(() => chat({ messages: nameless }))).toEqual(["invalid_argument", "messages[1].tool_call_id"]);
  });
});

describe("input of a response", () => {
  it("has calls and their answers as items", () => {
    const { input } = response({
      input: [
        user,
        { type: "function_call", id: "fc_1", call_id: "a", name: "get_weather", arguments: args, status: "completed" },
        { type: "function_call_output", call_id: "a", output: [{ type: "input_text", text: "Rain" }] },
      ],
    });
    expect(input).toEqual([
      user,
      { role: "assistant", content: call, callId: "a" },
      { role: "tool", content: "Rain", callId: "a" },
    ]);
    expect(answeredCalls(input as ChatMessage[], objectName).answers).toEqual([]);
  });

  it("answers calls of the object that it goes on in", () => {
    const answer = (id: string) =>
      response({ input: [{ type: "function_call_output", call_id: id, output: "Rain" }] }).input as ChatMessage[];
    const { answers, fields } = answeredCalls(answer(callId), objectName);
    expect(answers).toEqual([3]);
    expect(fields("answers[0]")).toBe("input[0].call_id");
    expect(fields("format")).toBeUndefined();
    for (const id of ["a", callId.replace("aaa", "bbb"), callId.replace("_3_", "_0_")]) {
      expect(fault(() => answeredCalls(answer(id), objectName))).toEqual(["invalid_argument", "input[0].call_id"]);
    }
  });
});

describe("a reply that is a call", () => {
  it("is told from its text, however it is cut", () => {
    const texts = fc.constantFrom(
      call,
      call.slice(0, -4),
      "Hello",
      "",
      "<tool",
      "<tool_call>\n{",
      `<tool_call>${args}`,
    );
    fc.assert(
      fc.property(texts, fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1 }), (text, cuts) => {
        const reader = createReplyReader(true);
        const pieces: ReplyPiece[] = [];
        for (let at = 0, i = 0; at < text.length; i++) {
          const length = cuts[i % cuts.length]!;
          pieces.push(...reader.push(text.slice(at, at + length)));
          at += length;
        }
        pieces.push(...reader.end());
        const whole = readCall(text);
        const joined = (type: string) =>
          pieces.map((piece) => (piece.type === type && "text" in piece ? piece.text : "")).join("");
        expect(joined("text")).toBe(whole === null ? text : "");
        expect(joined("arguments")).toBe(whole?.arguments ?? "");
        expect(pieces.filter(({ type }) => type === "call")).toEqual(
          whole === null ? [] : [{ type: "call", name: whole.name }],
        );
      }),
      { seed: 20_261_126 },
    );
  });

  it("is a message with a call in a chat completion", () => {
    const { choices } = chatCompletion(objectName, called, []);
    expect(choices[0]).toMatchObject({
      message: {
        content: null,
        tool_calls: [{ id: callId, type: "function", function: { name: "get_weather", arguments: args } }],
      },
      logprobs: null,
      finish_reason: "tool_calls",
    });
    const cut = { ...called, text: call.slice(0, -20), finishReason: "length", status: "incomplete" } as const;
    expect(chatCompletion(objectName, cut, null).choices[0]?.finish_reason).toBe("length");
    expect(chatCompletion(objectName, { ...called, mayCall: false }, null).choices[0]?.message.content).toBe(call);
  });

  it("comes as deltas of the call in chunks", async () => {
    const events = eventsOf(called, call.match(/[^]{1,7}/g)!);
    const chunks = await collect(
      chatChunks(
        events.map((e) => (e.type === "started" ? { ...e, view: { ...e.view, mayCall: true } } : e)),
        objectName,
        false,
      ),
    );
    const deltas = chunks.flatMap(({ choices }) =>
      choices.map(
        ({ delta }) => delta as { tool_calls?: { id?: string; function: { arguments: string } }[]; content?: string },
      ),
    );
    const calls = deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(calls[0]).toEqual({
      index: 0,
      id: callId,
      type: "function",
      function: { name: "get_weather", arguments: "" },
    });
    expect(calls.slice(1).every(({ id }) => id === undefined)).toBe(true);
    expect(calls.map((each) => each.function.arguments).join("")).toBe(args);
    expect(deltas.every(({ content }) => !content)).toBe(true);
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("tool_calls");
  });

  it("is an item of its own in a response, with events of its own", async () => {
    const item = {
      id: `fc_${objectName}_3_0`,
      type: "function_call",
      call_id: callId,
      name: "get_weather",
      arguments: args,
      status: "completed",
    };
    expect(responseObject(objectName, called)).toMatchObject({
      output: [item],
      tools: [{ type: "function", ...weather }],
      tool_choice: "auto",
    });
    const turn = eventsOf(called, call.match(/[^]{1,7}/g)!).map((e) =>
      e.type === "started" ? { ...e, view: { ...e.view, mayCall: true } } : e,
    );
    const events = await collect(responseEvents(turn, objectName));
    const types = events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);
    expect(types).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.function_call_arguments.delta",
      "response.function_call_arguments.done",
      "response.output_item.done",
      "response.completed",
    ]);
    const of = (type: string) => events.filter((event) => event.type === type);
    expect(of("response.output_item.added")[0]).toMatchObject({
      item: { ...item, arguments: "", status: "in_progress" },
    });
    expect(
      of("response.function_call_arguments.delta")
        .map((event) => event["delta"])
        .join(""),
    ).toBe(args);
    expect(of("response.function_call_arguments.done")[0]).toMatchObject({
      item_id: item.id,
      name: item.name,
      arguments: args,
    });
    expect(of("response.output_item.done")[0]).toMatchObject({ item });
  });

  it("does not show as text while it comes", () => {
    const coming = { ...called, status: "in_progress" as const, finishReason: null };
    expect(responseObject(objectName, { ...coming, text: "<tool_call>\n{" }).output).toEqual([]);
    expect(responseObject(objectName, { ...coming, text: "Hello" }).output).toMatchObject([{ type: "message" }]);
  });

  it("is listed with its answer", () => {
    const answer = { ...finished, turn: 4, messages: [{ role: "tool" as const, content: "Rain", callId }] };
    const items = conversationItems(objectName, [called, answer]);
    expect(items.map(({ type }) => type)).toEqual(["message", "function_call", "function_call_output", "message"]);
    expect(items[2]).toMatchObject({ id: `fco_${objectName}_4_1`, call_id: callId, output: "Rain" });
  });
});
