import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { createKeyRequest, createTenantRequest, rotateKeyRequest, updateKeyRequest } from "../../src/http/admin.ts";
import { chatRequest } from "../../src/http/chat-completions.ts";
import { forkRequest } from "../../src/http/conversations.ts";
import { createHookRequest, rotateHookRequest, updateHookRequest } from "../../src/http/hooks.ts";
import { checkShape } from "../../src/http/read-body.ts";
import { responseRequest } from "../../src/http/responses.ts";
import { turnOptions } from "../../src/http/turn-fields.ts";
import {
  createEndpointRequest,
  replayRequest,
  rotateSecretRequest,
  testEndpointRequest,
  updateEndpointRequest,
} from "../../src/http/webhook-endpoints.ts";
import { plainOptions } from "../turn-options.ts";

const user = { role: "user", content: "Hello" };
const rest = {
  modelIds: ["pocket", "other"],
  maxTokens: null,
  topLogProbabilities: null,
  format: null,
  maxTokensField: "max_tokens",
};

/** The code and the field of what is wrong with a body. */
function fault(check: () => unknown): { code: unknown; param: unknown } {
  try {
    check();
  } catch (error) {
    const { code, cause } = error as { code: unknown; cause: { param: string } };
    expect((error as Error).message).not.toContain("SECRET");
    return { code, param: cause.param };
  }
  return { code: "none", param: null };
}
const chatFault = (change: object) => fault(() => checkShape(chatRequest, { messages: [user], ...change }));
const responseFault = (change: object) => fault(() => checkShape(responseRequest, { input: "Hello", ...change }));

const unsupportedCases: [string, unknown][] = [
  ["n", 2],
  ["functions", [{}]],
  ["modalities", ["text", "audio"]],
  ["audio", { voice: "x" }],
  ["prediction", { type: "content", content: "x" }],
  ["web_search_options", {}],
];

describe("a request for a chat completion", () => {
  it.each(unsupportedCases)("with %s = %j is refused as unsupported, by name", (param, value) => {
    expect(chatFault({ [param]: value })).toEqual({ code: "unsupported", param });
  });

  it.each([
    ["messages[0].content[1].type", [{ role: "user", content: [{ type: "text", text: "a" }, { type: "image_url" }] }]],
    ["messages[1].tool_calls[0].type", [user, { role: "assistant", tool_calls: [{ id: "a", type: "custom" }] }]],
    ["messages[1].role", [user, { role: "function", content: "SECRET", name: "a" }]],
  ])("with unsupported %s is refused by name", (param, messages) => {
    expect(chatFault({ messages })).toEqual({ code: "unsupported", param });
  });

  it.each([
    ["messages", undefined],
    ["messages", []],
    ["messages", "SECRET"],
    ["temperature", 2.5],
    ["temperature", "SECRET"],
    ["top_p", -1],
    ["top_k", 1.5],
    ["max_tokens", 0],
    ["max_completion_tokens", 1e10],
    ["stop[0]", [""]],
    ["stop", Array.from({ length: 17 }, () => "x")],
    ["stop[0]", ["x".repeat(1_025)]],
    ["seed", 0.5],
    ["top_logprobs", 21],
    ["top_logprobs", 2],
    ["frequency_penalty", 3],
    ["stream", "yes"],
    ["model", 7],
    ["metadata", Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, ""]))],
  ] as [string, unknown][])("with a wrong %s is refused by name: %j", (param, value) => {
    expect(chatFault({ [param.replace("[0]", "")]: value })).toEqual({ code: "invalid_argument", param });
  });

  it.each([
    ["messages[0].role", { role: "SECRET", content: "" }],
    ["messages[0].content", { role: "user" }],
    ["messages[0].content", { role: "user", content: 7 }],
    ["messages[0].content[0].text", { role: "user", content: [{ type: "text", text: null }] }],
    ["messages[0].content[0].type", { role: "user", content: ["SECRET"] }],
    ["messages[0]", "SECRET"],
  ])("with a wrong %s is refused by name", (param, message) => {
    expect(chatFault({ messages: [message] })).toEqual({ code: "invalid_argument", param });
  });

  it("may leave out, null or name what makes no difference", () => {
    const harmless = {
      n: 1,
      tools: [],
      tool_choice: "auto",
      response_format: { type: "text" },
      modalities: ["text"],
      audio: null,
      store: false,
      user: "u",
      temperature: null,
      stop: null,
      service_tier: "auto",
      parallel_tool_calls: true,
      something_new: { a: 1 },
    };
    expect(chatFault(harmless)).toEqual({ code: "none", param: null });
    const { messages } = checkShape(chatRequest, {
      messages: [{ role: "assistant", content: "Hi", tool_calls: [] }, user],
    });
    expect(messages.map(({ role, content }) => ({ role, content }))).toEqual([
      { role: "assistant", content: "Hi" },
      user,
    ]);
  });

  it("may have a message of several parts, which are its lines", () => {
    const content = [
      { type: "text", text: "a" },
      { type: "text", text: "b" },
    ];
    expect(checkShape(chatRequest, { messages: [{ role: "user", content }] }).messages[0]?.content).toBe("a\nb");
  });
});

describe("a request for a response", () => {
  it.each([
    ["prompt", { id: "p" }],
    ["context_management", [{}]],
  ] as [string, unknown][])("with %s = %j is refused as unsupported, by name", (param, value) => {
    expect(responseFault({ [param]: value })).toEqual({ code: "unsupported", param });
  });

  it("is refused by the path of what is nested", () => {
    expect(responseFault({ text: { format: { type: "grammar" } } })).toEqual({
      code: "unsupported",
      param: "text.format.type",
    });
    expect(responseFault({ tools: [{ type: "web_search" }] })).toEqual({ code: "unsupported", param: "tools[0].type" });
    expect(responseFault({ tool_choice: { type: "web_search" } })).toEqual({
      code: "unsupported",
      param: "tool_choice.type",
    });
    expect(responseFault({ input: [{ type: "web_search_call", id: "SECRET" }] })).toEqual({
      code: "unsupported",
      param: "input[0].type",
    });
    expect(responseFault({ input: [{ role: "user", content: [{ type: "input_image" }] }] })).toEqual({
      code: "unsupported",
      param: "input[0].content[0].type",
    });
  });

  it.each([
    ["input", { input: undefined }],
    ["input", { input: [] }],
    ["previous_response_id", { previous_response_id: "resp_a", conversation: "conv_a" }],
    ["conversation", { conversation: 7 }],
    ["max_output_tokens", { max_output_tokens: 0 }],
    ["store", { store: false, background: true }],
    ["store", { store: false, conversation: "conv_a" }],
    ["truncation", { truncation: "always" }],
  ])("with a wrong %s is refused by name", (param, change) => {
    expect(responseFault(change)).toEqual({ code: "invalid_argument", param });
  });

  it("takes a text, or messages as clients and answers write them", () => {
    const { input } = checkShape(responseRequest, {
      input: [
        { role: "user", content: "a" },
        {
          type: "message",
          id: "msg_1",
          status: "completed",
          role: "assistant",
          content: [{ type: "output_text", text: "b", annotations: [] }],
        },
        { type: "message", role: "user", content: [{ type: "input_text", text: "c" }] },
      ],
    });
    expect(input.map((each) => ("role" in each ? [each.role, each.content] : each))).toEqual([
      ["user", "a"],
      ["assistant", "b"],
      ["user", "c"],
    ]);
    expect(checkShape(responseRequest, { input: "Hello" }).input).toEqual([user]);
    for (const text of [{ format: { type: "text" } }, { format: null }, {}, { verbosity: "low" }, null]) {
      expect(checkShape(responseRequest, { input: "Hello", text }).input).toEqual([user]);
    }
  });
});

describe("a turn's options", () => {
  it("are all filled in", () => {
    expect(turnOptions({ seed: 5 }, rest)).toEqual({ ...plainOptions, seed: "5" });
  });

  it("have well-formed stop strings, which an origin can be sent", () => {
    expect(turnOptions({ stop: ["\ud83d", "a\ude00b", "\ud83d\ude00"] }, rest).stop).toEqual([
      "\ufffd",
      "a\ufffdb",
      "😀",
    ]);
  });

  it("take every field of a request", () => {
    const body = checkShape(chatRequest, {
      messages: [user],
      model: "other",
      max_tokens: 9,
      stop: "END",
      temperature: 0,
      top_k: 3,
      top_p: 0.5,
      min_p: 0.1,
      frequency_penalty: -1,
      presence_penalty: 1,
      repetition_penalty: 1.1,
      logit_bias: { "12": -100 },
      seed: -1,
    });
    const biases = (count: number) => Object.fromEntries(Array.from(Array(count).keys(), (token) => [token, 1]));
    expect(chatRequest.safeParse({ ...body, logit_bias: biases(1_024) }).success).toBe(true);
    for (const bad of [biases(1_025), { "01": 1 }, { "-1": 1 }]) {
      expect(chatRequest.safeParse({ ...body, logit_bias: bad }).success).toBe(false);
    }
    expect(
      turnOptions(body, { ...rest, maxTokens: body.max_tokens, topLogProbabilities: 2, maxTokensField: "max_tokens" }),
    ).toEqual({
      model: "other",
      maxTokens: 9,
      stop: ["END"],
      temperature: 0,
      topK: 3,
      topP: 0.5,
      minP: 0.1,
      frequencyPenalty: -1,
      presencePenalty: 1,
      repetitionPenalty: 1.1,
      logitBias: [{ token: 12, bias: -100 }],
      seed: "18446744073709551615",
      topLogProbabilities: 2,
      background: false,
      format: null,
      store: true,
      truncation: "disabled",
      tools: null,
      sharedBy: null,
      chargedTo: null,
      notify: null,
      isBatch: false,
    });
  });

  it("have a seed nobody chose where none was given", () => {
    const seeds = Array.from({ length: 3 }, () => turnOptions({}, rest).seed);
    expect(new Set(seeds).size).toBe(3);
    for (const seed of seeds) expect(BigInt(seed)).toBeLessThan(2n ** 64n);
  });

  it("name a model that is there", () => {
    expect(turnOptions({}, { ...rest, modelIds: ["first", "second"] }).model).toBe("first");
    expect(fault(() => turnOptions({ model: "SECRET" }, rest))).toEqual({ code: "model_not_found", param: "model" });
  });
});

describe("a body of what is this server's own", () => {
  const verification = { type: "standard" };
  const good: [string, z.ZodType, object][] = [
    ["a new endpoint", createEndpointRequest, { url: "https://a.example.net/" }],
    ["a change of an endpoint", updateEndpointRequest, {}],
    ["a rotation", rotateSecretRequest, {}],
    ["a test", testEndpointRequest, {}],
    ["a replay", replayRequest, { from: 0, to: 1 }],
    ["a new hook", createHookRequest, { input: "a", verification }],
    ["a change of a hook", updateHookRequest, {}],
    ["a rotation of a hook", rotateHookRequest, {}],
    ["a fork", forkRequest, {}],
    ["a new tenant", createTenantRequest, { name: "a" }],
    ["a new key", createKeyRequest, { name: "a" }],
    ["a change of a key", updateKeyRequest, {}],
    ["a rotation of a key", rotateKeyRequest, {}],
  ];
  it.each(good)("such as %s has no fields that nobody knows", (_, schema, body) => {
    expect(fault(() => checkShape(schema, body))).toEqual({ code: "none", param: null });
    const param = "events";
    expect(fault(() => checkShape(schema, { ...body, events: "SECRET" }))).toEqual({ code: "invalid_argument", param });
  });

  it("is told the names of all of them, where they stand", () => {
    const check = (more: object) => () => checkShape(createHookRequest, { input: "a", verification, ...more });
    expect(check({ callback: "SECRET", events: [] })).toThrow("callback, events: there are no such fields here.");
    expect(check({ reply: { type: "slack", url: "x" } })).toThrow("reply.url: there is no such field here.");
    expect(check({ ["x".repeat(1_000)]: 1 })).toThrow(`${"x".repeat(64)}: there is no such field here.`);
  });
});
