// openai's own client against a real server: whoever changes the base URL notices nothing else.
import OpenAI from "openai";
import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

/** Fields of answers that are ours. */
interface Report {
  state: "restored" | "recomputed" | "cold" | null;
  griffin: { state_bytes: number; restored_tokens: number; computed_tokens: number; rows_written: number } | null;
}
const reportOf = (answer: unknown) => answer as Report;

const greedy = { model: "pocket", temperature: 0 };
/** Stop tokens that are never chosen: pocket talks on until it has said as much as it may. */
const endless = { logit_bias: { "1": -100, "5": -100 } };
const ada = "My name is Ada.";
const whoAmI = "What is my name?";
const story = "Tell me a story about a fox.";
const user = (content: string) => ({ role: "user" as const, content });

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Lines of the server's log that tell of an event. */
const inLog = (event: string): Record<string, unknown>[] =>
  server
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line["event"] === event);
const turnsInLog = () => inLog("turn");

/** What openai's client throws. */
async function failureOf(request: PromiseLike<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error: unknown = await Promise.resolve(request).then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof OpenAI.APIError)) throw new Error(`expected an APIError, got ${String(error)}`);
  return error;
}

describe("chat completions", () => {
  it("answer whole, with usage and what the turn cost", async () => {
    const answer = await client.chat.completions.create({ ...greedy, messages: [user(ada)] });
    expect(answer.id).toMatch(/^chatcmpl_[a-z2-7]{32}_\d+$/);
    expect(answer.object).toBe("chat.completion");
    expect(answer.choices).toHaveLength(1);
    expect(answer.choices[0]).toMatchObject({ index: 0, finish_reason: "stop", logprobs: null });
    expect(answer.choices[0]?.message.content).toContain("Ada");
    const { prompt_tokens: prompt = 0, completion_tokens: completion = 0, total_tokens: total } = answer.usage ?? {};
    expect(prompt).toBeGreaterThan(0);
    expect(completion).toBeGreaterThan(0);
    expect(total).toBe(prompt + completion);
    expect(reportOf(answer)).toMatchObject({ state: "cold", griffin: { restored_tokens: 0, state_bytes: 45_056 } });
    expect(reportOf(answer).griffin?.computed_tokens).toBe(total);
  });

  it("stream the same text in pieces, each in its place", async () => {
    const whole = await client.chat.completions.create({ ...greedy, messages: [user(story)] });
    const stream = await client.chat.completions.create({
      ...greedy,
      messages: [user(story)],
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await collect(stream);
    const deltas = chunks.slice(0, -1).map(({ choices: [choice] }) => choice!);
    expect(deltas.map(({ delta }) => delta.content ?? "").join("")).toBe(whole.choices[0]?.message.content);
    expect(deltas[0]?.delta.role).toBe("assistant");
    expect(deltas.map(({ finish_reason: reason }) => reason)).toEqual([...deltas.slice(1).map(() => null), "stop"]);
    expect(new Set(chunks.map(({ id, object, model }) => `${id} ${object} ${model}`)).size).toBe(1);
    expect(chunks.map(({ usage }) => usage ?? null).slice(0, -1)).toEqual(deltas.map(() => null));
    expect(chunks.at(-1)?.choices).toEqual([]);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(whole.usage?.completion_tokens);
    expect(chunks.length).toBeGreaterThan(5);
  });

  it("come together again in the client's own helper", async () => {
    const stream = client.chat.completions.stream({ ...greedy, messages: [user(ada)] });
    expect((await stream.finalChatCompletion()).choices[0]?.message.content).toContain("Ada");
  });

  it("compute nothing again when the whole history is sent each time", async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "system", content: "Hello." }, user(ada)];
    const talk = ["What is 7 plus 5?", story, "What is the opposite of hot?", whoAmI];
    let known = 0;
    for (let turn = 0; turn < 20; turn++) {
      const { choices, usage, ...rest } = await client.chat.completions.create({ ...greedy, messages });
      expect(usage?.prompt_tokens_details?.cached_tokens).toBe(known);
      expect(reportOf(rest).state).toBe(turn === 0 ? "cold" : "restored");
      known = usage?.total_tokens ?? 0;
      expect(reportOf(rest).griffin?.computed_tokens).toBe(known - (usage?.prompt_tokens_details?.cached_tokens ?? 0));
      const content = choices[0]?.message.content ?? "";
      if (turn % 4 === 0 && turn > 0) expect(content).toContain("Ada");
      messages.push({ role: "assistant", content }, user(talk[turn % 4]!));
    }
  });

  it("begin behind a long system text that another chat began with, and say what they say alone", async () => {
    const system = { role: "system" as const, content: "You are kind, brief, and never mention wolves. ".repeat(20) };
    const ask = (content: string, texts = system) =>
      client.chat.completions.create({ ...greedy, messages: [texts, user(content)] });
    expect(reportOf(await ask(ada)).state).toBe("cold");
    const shared = await ask(story);
    expect(reportOf(shared).state).toBe("shared");
    expect(shared.usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(100);
    const responses = await client.responses.create({ ...greedy, instructions: system.content, input: story });
    expect(reportOf(responses).state).toBe("shared");
    expect(responses.output_text).toBe(shared.choices[0]?.message.content);
  });

  it("stop at a string, and at a length", async () => {
    const messages = [user("Count from 3 to 9.")];
    const stopped = await client.chat.completions.create({ ...greedy, messages, stop: ["6"] });
    expect(stopped.choices[0]).toMatchObject({ finish_reason: "stop" });
    expect(stopped.choices[0]?.message.content).toContain("5");
    expect(stopped.choices[0]?.message.content).not.toContain("6");
    const cut = await client.chat.completions.create({ ...greedy, messages, max_completion_tokens: 3 });
    expect(cut.choices[0]).toMatchObject({ finish_reason: "length" });
    expect(cut.usage?.completion_tokens).toBe(3);
  });

  it("report log-probabilities whose texts are the reply, likeliest first", async () => {
    const answer = await client.chat.completions.create({
      ...greedy,
      messages: [user(ada)],
      logprobs: true,
      top_logprobs: 3,
    });
    const content = answer.choices[0]?.logprobs?.content ?? [];
    expect(content).toHaveLength(answer.usage?.completion_tokens ?? 0);
    for (const { logprob, token, bytes, top_logprobs: top } of content) {
      expect(top).toHaveLength(3);
      expect(top[0]).toEqual({ token, bytes, logprob });
      expect(top[1]!.logprob).toBeLessThanOrEqual(logprob);
    }
    const spelt = Buffer.from(content.flatMap(({ bytes }) => bytes ?? [])).toString();
    expect(spelt).toContain(answer.choices[0]?.message.content);
  });

  it("repeat themselves with a seed, and only then", async () => {
    const ask = async (seed?: number) =>
      (await client.chat.completions.create({ model: "pocket", temperature: 2, seed, messages: [user(story)] }))
        .choices[0]?.message.content;
    expect(await ask(7)).toBe(await ask(7));
    expect(await ask()).not.toBe(await ask());
  });

  it("end when their client goes away", async () => {
    const stream = await client.chat.completions.create({
      ...greedy,
      ...endless,
      messages: [user("Tell me a story about a robot.")],
      max_tokens: 60_000,
      stream: true,
    });
    let read = 0;
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++read === 3) break;
    await expect.poll(() => turnsInLog().map(({ turn_status: status }) => status)).toContain("cancelled");
  });
});

describe("responses", () => {
  it("answer whole, and go on from one another", async () => {
    const first = await client.responses.create({
      ...greedy,
      input: ada,
      instructions: "Be kind.",
      metadata: { a: "b" },
    });
    expect(first).toMatchObject({
      object: "response",
      status: "completed",
      instructions: "Be kind.",
      metadata: { a: "b" },
      previous_response_id: null,
      conversation: null,
    });
    const second = await client.responses.create({
      ...greedy,
      input: [{ role: "user", content: [{ type: "input_text", text: whoAmI }] }],
      previous_response_id: first.id,
    });
    expect(second.output_text).toContain("Ada");
    expect(second.previous_response_id).toBe(first.id);
    expect(second.usage?.input_tokens_details.cached_tokens).toBe(first.usage?.total_tokens);
    expect(reportOf(second)).toMatchObject({ state: "restored" });
    const { output_text: text, ...kept } = await client.responses.retrieve(second.id);
    expect(text).toBe(second.output_text);
    expect({ ...kept, output_text: text }).toMatchObject({ id: second.id, usage: second.usage, output: second.output });
  });

  it("stream OpenAI's events, and come together in the client's own helper", async () => {
    const stream = client.responses.stream({ ...greedy, input: story });
    const events: ResponseStreamEvent[] = await collect(stream);
    const response = await stream.finalResponse();
    const types = events.map(({ type }) => type).filter((type, index, all) => type !== all[index - 1]);
    expect(types).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, index) => index));
    expect(response.status).toBe("completed");
    expect((await client.responses.retrieve(response.id)).output_text).toBe(response.output_text);
  });

  it("resume behind any event, while they run and afterwards", async () => {
    const live = await client.responses.create({
      ...greedy,
      input: story,
      stream: true,
      max_output_tokens: 60,
      ...(endless as object),
    });
    const events: ResponseStreamEvent[] = [];
    let id = "";
    let resumed: Promise<ResponseStreamEvent[]> | undefined;
    for await (const event of live) {
      if (event.type === "response.created") ({ id } = event.response);
      events.push(event);
      if (events.length === 10) {
        resumed = client.responses.retrieve(id, { stream: true, starting_after: 4 }).then(collect);
      }
    }
    expect(await resumed).toEqual(events.slice(5));
    for (const after of [0, 20, events.length - 2, events.length - 1, 10_000]) {
      const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after: after }));
      // The last event always comes: nobody waits for it in vain.
      expect(rest).toEqual(events.slice(Math.min(after + 1, events.length - 1)));
    }
  });

  it("run on when their client goes away", async () => {
    const stream = await client.responses.create({ ...greedy, input: story, stream: true });
    let id = "";
    for await (const event of stream) {
      if (event.type === "response.created") ({ id } = event.response);
      if (event.type === "response.output_text.delta") break;
    }
    const events = await collect(await client.responses.retrieve(id, { stream: true }));
    expect(events.at(-1)).toMatchObject({ type: "response.completed" });
  });

  it("run in the background until they are done or cancelled", async () => {
    const endlessly = { ...greedy, input: story, background: true, max_output_tokens: 60_000, ...(endless as object) };
    const { id, status } = await client.responses.create(endlessly);
    expect(status).toBe("in_progress");
    let text = "";
    while (text === "") text = (await client.responses.retrieve(id)).output_text;
    const cancelled = await client.responses.cancel(id);
    expect(cancelled.status).toBe("cancelled");
    const { output, output_text: whole } = await client.responses.retrieve(id);
    expect(whole.startsWith(text)).toBe(true);
    expect(output).toEqual(cancelled.output);
    const next = await client.responses.create({ ...greedy, input: whoAmI, previous_response_id: id });
    expect(next.status).toBe("completed");
  });

  it("are gone once deleted", async () => {
    const { id } = await client.responses.create({ ...greedy, input: ada });
    await client.responses.delete(id);
    expect(await failureOf(client.responses.retrieve(id))).toMatchObject({ status: 404, code: "not_found" });
    expect(await failureOf(client.responses.delete(id))).toMatchObject({ status: 404, code: "not_found" });
  });
});

describe("conversations", () => {
  it("are made, read, changed and deleted", async () => {
    const { id, object, metadata } = await client.conversations.create({ metadata: { a: "b" } });
    expect({ object, metadata }).toEqual({ object: "conversation", metadata: { a: "b" } });
    expect((await client.conversations.update(id, { metadata: { c: "d" } })).metadata).toEqual({ c: "d" });
    expect((await client.conversations.retrieve(id)).metadata).toEqual({ c: "d" });
    expect(await client.conversations.delete(id)).toEqual({ id, object: "conversation.deleted", deleted: true });
    expect(await failureOf(client.conversations.retrieve(id))).toMatchObject({ status: 404 });
  });

  it("remember, and list what was said", async () => {
    const { id: conversation } = await client.conversations.create();
    await client.responses.create({ ...greedy, conversation, input: ada });
    const answer = await client.responses.create({ ...greedy, conversation: { id: conversation }, input: whoAmI });
    expect(answer.output_text).toContain("Ada");
    expect(answer.conversation).toEqual({ id: conversation });

    const items = await collect(client.conversations.items.list(conversation, { order: "asc", limit: 1 }));
    const texts = items.map(
      (item) => item.type === "message" && item.content.map((part) => "text" in part && part.text),
    );
    expect(texts.filter((_, index) => index % 2 === 0)).toEqual([[ada], [whoAmI]]);
    expect(texts[3]).toEqual([answer.output_text]);
    const newest = await client.conversations.items.list(conversation);
    expect(newest.data.map(({ id }) => id)).toEqual(items.map(({ id }) => id).toReversed());
    expect(newest.has_more).toBe(false);
  });

  it("fork at a response, and each way goes on by itself", async () => {
    const { id: conversation } = await client.conversations.create();
    const first = await client.responses.create({ ...greedy, conversation, input: ada });
    await client.responses.create({ ...greedy, conversation, input: "My name is Tom." });
    const fork = (body: object) => client.post<{ id: string }>(`/conversations/${conversation}/fork`, { body });
    const [atFirst, atHead, atBeginning] = [
      await fork({ response_id: first.id }),
      await fork({}),
      await fork({ response_id: null }),
    ];
    const ask = async ({ id }: { id: string }) =>
      (await client.responses.create({ ...greedy, conversation: id, input: whoAmI })).output_text;
    expect(await ask(atFirst)).toContain("Ada");
    expect(await ask(atHead)).toContain("Tom");
    expect(await ask(atBeginning)).not.toMatch(/Ada|Tom/);
    expect((await client.conversations.items.list(atFirst.id)).data).toHaveLength(4);
  });

  it("take one response at a time", async () => {
    const { id: conversation } = await client.conversations.create();
    const first = await client.responses.create({
      ...greedy,
      conversation,
      input: story,
      background: true,
      max_output_tokens: 60_000,
      ...(endless as object),
    });
    const second = client.responses.create({ ...greedy, conversation, input: ada });
    expect(await failureOf(second)).toMatchObject({ status: 409, code: "conversation_busy" });
    await client.responses.cancel(first.id);
    expect((await client.responses.create({ ...greedy, conversation, input: ada })).status).toBe("completed");
  });
});

describe("requests sent again", () => {
  const send = async (headers: Record<string, string>, conversation: string, input = ada) => {
    const body = JSON.stringify({ ...greedy, conversation, input });
    const response = await fetch(`${server.url}/v1/responses`, { method: "POST", body, headers });
    return ((await response.json()) as { id: string }).id;
  };

  it("are the same turn when the client counts its attempts, and two turns when it does not", async () => {
    const { id } = await client.conversations.create();
    const first = await send({ "x-stainless-retry-count": "0" }, id);
    expect(await send({ "x-stainless-retry-count": "1" }, id)).toBe(first);
    expect(await send({ "x-stainless-retry-count": "1" }, id, whoAmI)).not.toBe(first);
    const deliberate = await send({ "x-stainless-retry-count": "0" }, id);
    expect(deliberate).not.toBe(first);
    expect(await send({ "x-stainless-retry-count": "2" }, id)).toBe(deliberate);
    expect((await client.conversations.items.list(id)).data).toHaveLength(6);
  });

  it("are the same first turn, and the same conversation, when the client counts its attempts", async () => {
    const make = async (path: string, attempt: number, body: object) => {
      const headers = { "x-stainless-retry-count": String(attempt) };
      const response = await fetch(`${server.url}${path}`, { method: "POST", body: JSON.stringify(body), headers });
      return ((await response.json()) as { id: string }).id;
    };
    const asked = { ...greedy, input: `${ada} Attempt.` };
    for (const [path, body] of [["/v1/responses", asked] as const, ["/v1/conversations", { metadata: {} }] as const]) {
      const first = await make(path, 0, body);
      expect(await make(path, 1, body)).toBe(first);
      const deliberate = await make(path, 0, body);
      expect(deliberate).not.toBe(first);
      expect(await make(path, 2, body)).toBe(deliberate);
    }
    expect(await make("/v1/responses", 1, { ...asked, input: whoAmI })).toMatch(/^resp_/);
  });

  it("are the same turn under one Idempotency-Key, with a conversation and without", async () => {
    const { id } = await client.conversations.create();
    const first = await send({ "idempotency-key": "a" }, id);
    expect(await send({ "idempotency-key": "a" }, id)).toBe(first);
    expect(await send({ "idempotency-key": "b" }, id)).not.toBe(first);
    const alone = () => client.responses.create({ ...greedy, input: ada }, { headers: { "idempotency-key": "c" } });
    expect((await alone()).id).toBe((await alone()).id);
    const create = () => client.conversations.create({}, { headers: { "idempotency-key": "d" } });
    expect((await create()).id).toBe((await create()).id);
    const other = client.responses.create({ ...greedy, input: whoAmI }, { headers: { "idempotency-key": "c" } });
    expect(await failureOf(other)).toMatchObject({ status: 422, code: "key_reused" });
  });

  it("is refused, not taken for an older one, when the client tries it again against a busy conversation", async () => {
    const { id: conversation } = await client.conversations.create();
    const first = await client.responses.create({ ...greedy, conversation, input: "yes" });
    const long = { ...greedy, ...(endless as object), conversation, input: story, max_output_tokens: 60_000 };
    const running = await client.responses.create({ ...long, background: true });
    const again = client.responses.create({ ...greedy, conversation, input: "yes" }, { maxRetries: 2 });
    expect(await failureOf(again)).toMatchObject({ status: 409, code: "conversation_busy" });
    await client.responses.cancel(running.id);
    const second = await client.responses.create({ ...greedy, conversation, input: "yes" });
    expect(second.id).not.toBe(first.id);
  });

  it("tell their log-probabilities again when they are retrieved", async () => {
    const include = ["message.output_text.logprobs" as const];
    const created = await client.responses.create({ ...greedy, input: ada, include, top_logprobs: 2 });
    const retrieved = await client.responses.retrieve(created.id);
    expect(retrieved.output).toEqual(created.output);
    const { id } = await client.responses.create({ ...greedy, input: ada, include, top_logprobs: 2, background: true });
    await expect.poll(async () => (await client.responses.retrieve(id)).status).toBe("completed");
    const [item] = (await client.responses.retrieve(id)).output;
    const [part] = item?.type === "message" ? item.content : [];
    expect(part?.type === "output_text" && part.logprobs?.length).toBeGreaterThan(3);
  });
});

describe("errors", () => {
  const unknown = "a".repeat(32);

  it("name the field and the reason in the client's own classes", async () => {
    const messages = [user(ada)];
    const tools = await failureOf(client.chat.completions.create({ ...greedy, messages, functions: [{ name: "f" }] }));
    expect(tools).toBeInstanceOf(OpenAI.BadRequestError);
    expect(tools).toMatchObject({
      status: 400,
      code: "unsupported",
      param: "functions",
      type: "invalid_request_error",
    });
    expect(tools.requestID).toMatch(/^req_/);
    const wrong = await failureOf(client.chat.completions.create({ ...greedy, messages, temperature: 9 }));
    expect(wrong).toMatchObject({ status: 400, code: "invalid_argument", param: "temperature" });
    const model = await failureOf(client.chat.completions.create({ model: "gpt", messages }));
    expect(model).toBeInstanceOf(OpenAI.NotFoundError);
    expect(model).toMatchObject({ code: "model_not_found", param: "model" });
    const bias = await failureOf(client.chat.completions.create({ ...greedy, messages, logit_bias: { "99999": 1 } }));
    expect(bias).toMatchObject({ status: 400, code: "invalid_argument" });
  });

  it("are the same for every id that leads nowhere", async () => {
    const { id } = await client.conversations.create();
    const conversations = [`conv_${unknown}_0`, id.replace(/_0$/, "_1"), "conv_nonsense"];
    for (const conversation of conversations) {
      const error = await failureOf(client.responses.create({ ...greedy, conversation, input: ada }));
      expect(error).toMatchObject({ status: 404, code: "not_found", param: "conversation" });
      expect(error.message).toBe("404 There is no conversation with this id.");
      expect((await failureOf(client.conversations.retrieve(conversation))).message).toBe(error.message);
    }
    for (const previous of [`resp_${unknown}_1`, id.replace("conv", "resp").replace(/_0$/, "_9"), "resp_nonsense"]) {
      const error = await failureOf(client.responses.create({ ...greedy, previous_response_id: previous, input: ada }));
      expect(error).toMatchObject({ status: 404, code: "previous_response_not_found", param: "previous_response_id" });
      expect((await failureOf(client.responses.cancel(previous))).message).toBe(error.message);
    }
  });

  it("never lead from a chat completion's id to its text", async () => {
    const { id } = await client.chat.completions.create({ ...greedy, messages: [user(ada)] });
    const error = await failureOf(client.responses.retrieve(id.replace("chatcmpl", "resp")));
    expect(error).toMatchObject({ status: 404, code: "not_found" });
  });
});

describe("addresses where nothing is", () => {
  it.each(["/nothing", "/v1", "/v1/nothing"])("answer 404 in JSON: %s", async (path) => {
    const response = await fetch(server.url + path);
    expect(response.status).toBe(404);
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    expect(await response.json()).toMatchObject({ error: { code: "not_found" } });
  });
});

describe("models", () => {
  it("are listed and found", async () => {
    expect((await collect(client.models.list())).map(({ id }) => id)).toEqual(["pocket"]);
    expect(await client.models.retrieve("pocket")).toMatchObject({ id: "pocket", object: "model" });
    expect(await failureOf(client.models.retrieve("gpt"))).toMatchObject({ status: 404, code: "model_not_found" });
  });
});

describe("the log", () => {
  it("has one line for each request and each turn, and no word that was said", () => {
    const turns = turnsInLog().filter(({ turn_status: status }) => status === "completed");
    expect(turns.length).toBeGreaterThan(10);
    for (const turn of turns) {
      expect(turn).toMatchObject({
        model: "pocket",
        object: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
      expect(turn["completion_tokens"]).toBeGreaterThan(0);
      expect(turn["ms"]).toBeGreaterThanOrEqual(0);
    }
    const requests = inLog("request");
    expect(requests.length).toBeGreaterThan(turns.length);
    for (const request of requests) {
      expect(request).toMatchObject({ request: expect.stringMatching(/^req_/), status: expect.any(Number) });
    }
    expect(requests.some(({ object }) => turns.some((turn) => turn["object"] === object))).toBe(true);
    for (const said of ["Ada", "fox", "story", "name is"]) expect(server.log()).not.toContain(said);
    // Whoever knows the name of an object may read what is in it.
    expect(server.log()).not.toMatch(/(conversation|prefix)\/[a-z2-7]|(conv|resp)_[a-z2-7]/);
  });
});
