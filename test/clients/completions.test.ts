// /v1/completions: openai's own client, and what evaluations such as lm-evaluation-harness send and compare.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { logProbability, topLogProbabilities } from "../../src/engine/log-probabilities.ts";
import { griffin } from "../cli/program.ts";
import { readTensors } from "../reference/safetensors.ts";
import { ask } from "../serve/client.ts";
import { startServer, type TestServer } from "../server.ts";

const vocabSize = 2048;
const greedy = { model: "pocket", temperature: 0 };
/** Stop tokens that are never chosen: pocket talks on until it has said as much as it may. */
const endless = { logit_bias: { "1": -100, "5": -100 } };
const story = "Once upon a time there was a fox";

interface Completion {
  id: string;
  choices: {
    index: number;
    text: string;
    finish_reason: string;
    logprobs: {
      tokens: string[];
      token_logprobs: (number | null)[];
      top_logprobs: (Record<string, number> | null)[];
      text_offset: number[];
    } | null;
  }[];
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
  griffin: { computed_tokens: number };
}

let server: TestServer;
let client: OpenAI;
const temporary = mkdtempSync(path.join(tmpdir(), "griffin-completions-"));
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await server.stop();
  rmSync(temporary, { recursive: true });
});

async function post<T = Completion>(route: string, body: object): Promise<T> {
  const response = await ask(server, route, body);
  const text = await response.text();
  if (!response.ok) throw new Error(`status ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}
const complete = (body: object) => post("/v1/completions", { ...greedy, ...body });
const encode = async (text: string) => (await post<{ tokens: number[] }>("/v1/tokenize", { prompt: text })).tokens;

async function errorOf(body: object, route = "/v1/completions") {
  const response = await ask(server, route, body);
  const { error } = (await response.json()) as { error: { code: string; param: string | null; message: string } };
  return { status: response.status, code: error.code, param: error.param };
}

/** What lm-evaluation-harness's `local-completions` sends. */
const evaluation = (prompt: number[][]) => ({
  prompt,
  max_tokens: 1,
  logprobs: 1,
  echo: true,
  temperature: 0,
  seed: 1234,
});

/** Logits [T, V] of `griffin logits`, in a process of its own. */
async function logitsOf(tokens: readonly number[], name: string): Promise<Float32Array> {
  const [input, out] = [path.join(temporary, `${name}.json`), path.join(temporary, `${name}.safetensors`)];
  writeFileSync(input, JSON.stringify(tokens));
  const { status, stderr } = await griffin(["logits", "models/pocket", "--tokens", input, "--out", out]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return readTensors(out).get("logits")!;
}

/** log-softmax in f64. */
function logSoftmax(row: Float32Array, token: number): number {
  const max = Math.max(...row);
  return row[token]! - max - Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
}

/** A long text of pocket's kind: many chunks of 64 tokens. */
const longTokens = async () => {
  const words = ["The fox ran to the river.", "Ada and Tom have 4 apples.", "What is 7 plus 5?", "It was a cold day."];
  return encode(Array.from({ length: 60 }, (_, i) => words[(i * 7) % 4]).join(" "));
};

/** Compares a choice with the model's own numbers. */
function expectLogits({ choices: [choice] }: Completion, tokens: readonly number[], logits: Float32Array) {
  const { token_logprobs: of, top_logprobs: top } = choice![`logprobs`]!;
  expect(of).toHaveLength(tokens.length + 1);
  expect([of[0], top[0]]).toEqual([null, null]);
  let isGreedy = 0;
  for (let i = 1; i < tokens.length; i++) {
    const row = logits.subarray((i - 1) * vocabSize, i * vocabSize);
    expect(Math.abs(of[i]! - logSoftmax(row, tokens[i]!))).toBeLessThan(1e-5);
    // The engine's own function gives the very same floats.
    expect(of[i]).toBe(logProbability(row, tokens[i]!));
    const [best] = topLogProbabilities(row, 1);
    const values = Object.values(top[i]!);
    expect(Math.max(...values)).toBe(best!.logProbability);
    expect(values).toContain(of[i]);
    expect(values).toHaveLength(best!.token === tokens[i] ? 1 : 2);
    const saysGreedy = of[i] === Math.max(...values);
    expect(saysGreedy).toBe(row[tokens[i]!] === Math.max(...row));
    isGreedy += Number(saysGreedy);
  }
  return isGreedy;
}

describe("what evaluations ask for", () => {
  it("has the log-probabilities of the model's logits, and the identical float for the likeliest token", async () => {
    const tokens = await encode("My name is Ada. What is my name? Tell me a story about a fox.");
    const answer = await complete(evaluation([tokens]));
    const isGreedy = expectLogits(answer, tokens, await logitsOf(tokens, "short"));
    expect(isGreedy).toBeGreaterThan(0);
    expect(isGreedy).toBeLessThan(tokens.length - 1);
    expect(answer.usage).toMatchObject({ prompt_tokens: tokens.length, completion_tokens: 1 });
    // Every token of the prompt once, and the one that was generated.
    expect(answer.griffin.computed_tokens).toBe(tokens.length + 1);
  });

  it("is the same over many chunks, beside other chats, and alone", async () => {
    const tokens = await longTokens();
    expect(tokens.length).toBeGreaterThan(400);
    const alone = await complete(evaluation([tokens]));
    expectLogits(alone, tokens, await logitsOf(tokens, "long"));
    const chat = { ...endless, max_tokens: 400, messages: [{ role: "user", content: "Tell me a story about a fox." }] };
    const [chatAlone, ...together] = await Promise.all([
      post("/v1/chat/completions", { ...greedy, ...chat }),
      complete(evaluation([tokens])),
      complete(evaluation([tokens.slice(0, 100)])),
    ]);
    expect(together[0]!.choices).toEqual(alone.choices);
    expect(together[1]!.choices[0]!.logprobs!.token_logprobs.slice(0, 100)).toEqual(
      alone.choices[0]!.logprobs!.token_logprobs.slice(0, 100),
    );
    expect((await post("/v1/chat/completions", { ...greedy, ...chat, user: "again" })).choices[0]).toEqual(
      chatAlone.choices[0],
    );
  });

  it("comes in order for many prompts, each as alone", async () => {
    const texts = ["Ada", "My name is Tom. ", "What is 7 plus 5?", "A", "The opposite of hot is", "Count from 3 to 9."];
    const prompts = await Promise.all(texts.map(encode));
    prompts.push(prompts[0]!, [7], await longTokens());
    const { choices, usage, griffin: cost } = await complete(evaluation(prompts));
    expect(choices.map(({ index }) => index)).toEqual(prompts.map((_, index) => index));
    for (const [index, prompt] of prompts.entries()) {
      const { choices: alone } = await complete(evaluation([prompt]));
      expect({ ...choices[index], index: 0 }).toEqual(alone[0]);
    }
    const count = prompts.reduce((sum, { length }) => sum + length, 0);
    expect(usage).toMatchObject({ prompt_tokens: count, completion_tokens: prompts.length });
    expect(cost.computed_tokens).toBe(count + prompts.length);
  });

  it("scores without generating, which is the same prompt", async () => {
    const tokens = await encode("My name is Ada.");
    const [{ choices: scored, usage, griffin: cost }, { choices: more }] = await Promise.all([
      complete({ ...evaluation([tokens]), max_tokens: 0 }),
      complete(evaluation([tokens])),
    ]);
    expect(scored[0]).toMatchObject({ finish_reason: "length", text: "My name is Ada." });
    expect(scored[0]!.logprobs!.token_logprobs).toEqual(more[0]!.logprobs!.token_logprobs.slice(0, -1));
    expect(usage.completion_tokens).toBe(0);
    expect(cost.computed_tokens).toBe(tokens.length - 1);
  });

  it("names tokens so that none hides another, and says where each begins", async () => {
    const text = "Ada said: \u{1F98A} é. ";
    const tokens = await encode(text);
    const { choices } = await complete({ prompt: tokens, max_tokens: 4, logprobs: 20, echo: true, ...endless });
    const { tokens: names, top_logprobs: top, token_logprobs: of, text_offset: offsets } = choices[0]!.logprobs!;
    expect(names[0]).toBe("token_id:2");
    expect(names.join("")).toContain(String.raw`bytes:\xf0bytes:\x9f`);
    for (const [i, likeliest] of top.entries()) {
      if (likeliest === null) continue;
      expect([20, 21]).toContain(Object.keys(likeliest).length);
      expect(likeliest[names[i]!]).toBeTypeOf("number");
      expect(Object.values(likeliest)).toContain(of[i]);
    }
    const characters = [...choices[0]!.text];
    const plain = names
      .map((name, i) => ({ name, at: offsets[i]! }))
      .filter(({ name }) => !/^(bytes|token_id):/.test(name));
    expect(plain.length).toBeGreaterThan(5);
    for (const { name, at } of plain) expect(characters.slice(at, at + [...name].length).join("")).toBe(name);
    expect(choices[0]!.text.startsWith(text)).toBe(true);
    // Without the prompt the same reply begins at 0.
    const { choices: bare } = await complete({ prompt: tokens, max_tokens: 4, logprobs: 20, ...endless });
    expect(bare[0]!.logprobs!.text_offset[0]).toBe(0);
    expect(bare[0]!.logprobs!.token_logprobs).toEqual(of.slice(tokens.length));
    expect(text + bare[0]!.text).toBe(choices[0]!.text);
  });
});

describe("openai's client", () => {
  it("completes a text as griffin run does, with usage", async () => {
    const answer = await client.completions.create({ ...greedy, prompt: story, max_tokens: 40 });
    const { stdout } = await griffin(["run", "models/pocket", "--raw", "--prompt", story, "--max-tokens", "40"]);
    expect(`${answer.choices[0]!.text}\n`).toBe(stdout);
    expect(answer.id).toMatch(/^cmpl_[a-z2-7]{32}$/);
    expect(answer).toMatchObject({ object: "text_completion", model: "pocket" });
    expect(answer.choices[0]!.logprobs).toBeNull();
    const { prompt_tokens: prompt, completion_tokens: completion, total_tokens: total } = answer.usage!;
    expect(prompt).toBe((await encode(story)).length);
    expect(total).toBe(prompt + completion);
    const asTokens = await client.completions.create({ ...greedy, prompt: await encode(story), max_tokens: 40 });
    expect(asTokens.choices).toEqual(answer.choices);
    const echoed = await client.completions.create({ ...greedy, prompt: story, max_tokens: 40, echo: true });
    expect(echoed.choices[0]!.text).toBe(story + answer.choices[0]!.text);
    expect((await client.completions.create({ ...greedy, ...endless, prompt: story })).usage!.completion_tokens).toBe(
      16,
    );
  });

  it("streams the same in pieces, choice by choice, with usage at the end", async () => {
    const body = {
      ...greedy,
      temperature: 1,
      seed: 9,
      prompt: [story, "My name is Tom."],
      n: 2,
      max_tokens: 12,
      echo: true,
    };
    for (const logprobs of [null, 2]) {
      const whole = await client.completions.create({ ...body, logprobs });
      const streaming = { stream: true, stream_options: { include_usage: true } } as const;
      const chunks: OpenAI.Completion[] = [];
      for await (const chunk of await client.completions.create({ ...body, logprobs, ...streaming }))
        chunks.push(chunk);
      const last = chunks.pop()!;
      expect(last).toMatchObject({ choices: [], usage: whole.usage });
      for (const { index, text, finish_reason: reason, logprobs: of } of whole.choices) {
        const mine = chunks.flatMap(({ choices }) => choices).filter((choice) => choice.index === index);
        expect(mine.map((choice) => choice.text).join("")).toBe(text);
        expect(mine.map((choice) => choice.finish_reason)).toEqual([...mine.slice(1).map(() => null), reason]);
        const streamed = mine.flatMap((choice) => choice.logprobs?.token_logprobs ?? []);
        expect(streamed).toEqual(of?.token_logprobs ?? []);
        expect(mine.flatMap((choice) => choice.logprobs?.text_offset ?? [])).toEqual(of?.text_offset ?? []);
      }
      expect(chunks.every(({ usage }) => usage === null)).toBe(true);
      expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    }
  });

  it("gets n replies, the k-th with the seed and k, from one reading of the prompt", async () => {
    const body = { model: "pocket", prompt: story, max_tokens: 20, ...endless };
    const many = await client.completions.create({ ...body, n: 3, best_of: 3, seed: 41 });
    const alone = await Promise.all([41, 42, 43].map((seed) => client.completions.create({ ...body, seed })));
    expect(many.choices.map(({ text }) => text)).toEqual(alone.map(({ choices }) => choices[0]!.text));
    expect(new Set(many.choices.map(({ text }) => text)).size).toBe(3);
    const promptTokens = (await encode(story)).length;
    expect(many.usage).toMatchObject({ prompt_tokens: promptTokens, completion_tokens: 60 });
    // The last token of the prompt is read by each.
    expect((many as unknown as Completion).griffin.computed_tokens).toBe(promptTokens - 1 + 3 * 21);
  });

  it("stops at strings, and leaves them out", async () => {
    const prompt = "<unused> 3, 4, 5,";
    const free = await client.completions.create({ ...greedy, ...endless, prompt, max_tokens: 30 });
    const text = free.choices[0]!.text;
    const stop = text.slice(6, 9);
    const stopped = await client.completions.create({
      ...greedy,
      ...endless,
      prompt,
      max_tokens: 30,
      stop,
      logprobs: 0,
    });
    expect(stopped.choices[0]).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finish_reason: "stop" });
    const { tokens, top_logprobs: top, token_logprobs: of } = stopped.choices[0]!.logprobs!;
    expect(tokens).toHaveLength(stopped.usage!.completion_tokens);
    expect(top!.map((each) => Object.values(each))).toEqual(of!.map((each) => [each]));
  });
});

describe("a completion", () => {
  it.each([
    ["no prompt", {}, "invalid_argument", "prompt"],
    ["a prompt that is none", { prompt: { text: "x" } }, "invalid_argument", "prompt"],
    ["no prompts", { prompt: [] }, "invalid_argument", "prompt"],
    ["a prompt without tokens", { prompt: [[1], []] }, "invalid_argument", "prompt[1]"],
    ["texts among tokens", { prompt: [1, "x"] }, "invalid_argument", "prompt"],
    ["tokens that no model has", { prompt: [[1], [2, 2048]] }, "invalid_argument", "prompt[1]"],
    ["too many prompts", { prompt: Array(129).fill("x") }, "invalid_argument", "prompt"],
    ["too many choices", { prompt: Array(65).fill("x"), n: 2 }, "invalid_argument", "n"],
    ["too many replies", { prompt: "x", n: 17 }, "invalid_argument", "n"],
    ["too long replies", { prompt: ["x", "y"], max_tokens: 40_000 }, "invalid_argument", "max_tokens"],
    [
      "too long prompts to report",
      { prompt: Array(70_000).fill(9), echo: true, logprobs: 1 },
      "invalid_argument",
      "logprobs",
    ],
    ["nothing to do", { prompt: "x", max_tokens: 0 }, "invalid_argument", "max_tokens"],
    ["more than the best", { prompt: "x", n: 1, best_of: 2 }, "unsupported", "best_of"],
    ["a suffix", { prompt: "x", suffix: "y" }, "unsupported", "suffix"],
    ["too many log-probabilities", { prompt: "x", logprobs: 21 }, "invalid_argument", "logprobs"],
    ["a bias beyond the vocabulary", { prompt: "x", logit_bias: { "2048": 1 } }, "invalid_argument", null],
  ])("with %s is refused by name", async (_, body, code, param) => {
    expect(await errorOf(body)).toEqual({ status: 400, code, param });
    expect(await errorOf({ ...body, stream: true })).toEqual({ status: 400, code, param });
  });

  it("of a model that is not there is refused", async () => {
    expect(await errorOf({ model: "gpt", prompt: "x" })).toEqual({
      status: 404,
      code: "model_not_found",
      param: "model",
    });
  });

  it("ends when its client goes away, and keeps nothing", async () => {
    const leave = new AbortController();
    const body = { ...greedy, ...endless, prompt: ["SECRET fox", "SECRET hen"], max_tokens: 30_000, stream: true };
    const response = await ask(server, "/v1/completions", body, leave.signal);
    const reader = response.body!.getReader();
    await reader.read();
    leave.abort();
    const line = () =>
      server
        .log()
        .split("\n")
        .find((each) => /"event":"completion".*"cancelled"/.test(each));
    await expect.poll(line, { timeout: 20_000 }).toBeDefined();
    const { computed_tokens: computed, completion_tokens: completed } = JSON.parse(line()!) as Record<string, number>;
    expect(completed).toBeGreaterThan(0);
    expect(computed).toBeLessThan(30_000);
    expect(server.log()).not.toContain("SECRET");
  });
});
