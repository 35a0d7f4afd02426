import { describe, expect, it } from "vitest";
import type { TurnView } from "../../src/conversation/protocol.ts";
import { chatChunks, chatCompletion } from "../../src/http/chat-chunks.ts";
import { collect, eventsOf, finished, objectName, options, report } from "./turns.ts";

const id = `chatcmpl_${objectName}_3`;
const common = { id, object: "chat.completion.chunk", created: 1_700_000_000, model: "pocket" };
const usage = {
  prompt_tokens: 30,
  completion_tokens: 4,
  total_tokens: 34,
  prompt_tokens_details: { cached_tokens: 20 },
};
const choice = (delta: object, finishReason: string | null = null) => ({
  choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
});
const withLogprobs: TurnView = { ...finished, options: { ...options, topLogProbabilities: 1 } };

describe("the chunks of a chat completion", () => {
  it("are the role, the texts, the held-back rest and the reason of the end", async () => {
    expect(await collect(chatChunks(eventsOf(finished, ["Hi,", "", " Ada"], "!"), objectName, false))).toEqual([
      { ...common, ...choice({ role: "assistant", content: "", refusal: null }) },
      { ...common, ...choice({ content: "Hi," }) },
      { ...common, ...choice({ content: " Ada" }) },
      { ...common, ...choice({ content: "!" }) },
      { ...common, ...choice({}, "stop"), ...report },
    ]);
  });

  it("have usage null, and one more with the usage, when that was asked for", async () => {
    const chunks = await collect(chatChunks(eventsOf(finished, ["Hi, Ada!"]), objectName, true));
    expect(chunks.slice(0, -1).map((chunk) => chunk.usage)).toEqual([null, null, null]);
    expect(chunks.at(-1)).toEqual({ ...common, choices: [], usage, ...report });
  });

  it("have the log-probabilities of every token, those without a text too", async () => {
    const top = [{ token: 7, bytes: [0xf0, 0x9f], logProbability: -0.5 }];
    const events = eventsOf(withLogprobs, ["Hi", ""], "", { logProbability: -1, bytes: [72, 105], top });
    const chunks = await collect(chatChunks(events, objectName, false));
    expect(chunks).toHaveLength(4);
    expect(chunks[2]?.choices[0]).toEqual({
      index: 0,
      delta: { content: "" },
      logprobs: {
        content: [
          {
            token: "Hi",
            bytes: [72, 105],
            logprob: -1,
            top_logprobs: [{ token: "\ufffd", bytes: [0xf0, 0x9f], logprob: -0.5 }],
          },
        ],
        refusal: null,
      },
      finish_reason: null,
    });
  });

  it("end with a refusal where moderation refused the turn", async () => {
    const refused: TurnView = { ...finished, status: "failed", text: "", error: { code: "refused", message: "No." } };
    expect((await collect(chatChunks(eventsOf(refused, ["Hi"]), objectName, false))).slice(1)).toMatchObject([
      choice({ content: "Hi" }),
      choice({ refusal: "No." }),
      choice({}, "content_filter"),
    ]);
    expect(chatCompletion(objectName, refused, null).choices).toMatchObject([
      { message: { role: "assistant", content: null, refusal: "No." }, finish_reason: "content_filter" },
    ]);
  });

  it("say length for a reply that was cut", async () => {
    const cut: TurnView = { ...finished, status: "incomplete", finishReason: "length" };
    expect((await collect(chatChunks(eventsOf(cut, []), objectName, false))).at(-1)).toMatchObject(
      choice({}, "length"),
    );
  });

  it.each([
    [{ status: "failed", error: { code: "model_too_large", message: "No." } }, "model_too_large"],
    [{ status: "cancelled", finishReason: "cancelled" }, "cancelled"],
  ] as const)("end with the error of a turn that did not end well", async (change, code) => {
    const view: TurnView = { ...finished, finishReason: null, ...change };
    await expect(collect(chatChunks(eventsOf(view, ["Hi"]), objectName, true))).rejects.toMatchObject({ code });
  });
});

describe("a whole chat completion", () => {
  it("has the reply, the usage and what the turn cost", () => {
    expect(chatCompletion(objectName, finished, null)).toEqual({
      id,
      object: "chat.completion",
      created: 1_700_000_000,
      model: "pocket",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "Hi, Ada!", refusal: null },
          logprobs: null,
          finish_reason: "stop",
        },
      ],
      usage,
      ...report,
    });
  });
});
