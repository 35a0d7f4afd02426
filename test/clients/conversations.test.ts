// Items of conversations, forks at them, and responses that are not kept, with openai's own client.
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { checkShape } from "./openai-shapes.ts";

const greedy = { model: "pocket", temperature: 0 };
const whoAmI = "What is my name?";
const ada = { type: "message", role: "user", content: "My name is Ada." } as const;
const nice = { type: "message", role: "assistant", content: "Nice to meet you, Ada." } as const;

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

const textOf = (item: OpenAI.Conversations.ConversationItem | OpenAI.Responses.ResponseItem) =>
  item.type === "message" ? item.content.map((part) => ("text" in part ? part.text : "")).join("") : undefined;

const texts = async (conversation: string) =>
  (await collect(client.conversations.items.list(conversation, { order: "asc", limit: 2 }))).map(textOf);

async function failureOf(request: PromiseLike<unknown>) {
  const error: unknown = await Promise.resolve(request).catch((reason: unknown) => reason);
  if (!(error instanceof OpenAI.APIError)) throw new Error(`expected an APIError, got ${String(error)}`);
  return { status: error.status as number, code: error.code, param: error.param };
}

describe("items", () => {
  it("seed a conversation, are added, read, listed and deleted", async () => {
    const { id } = await client.conversations.create({ items: [ada, nice] });
    const added = await client.conversations.items.create(id, {
      items: [{ type: "message", role: "developer", content: [{ type: "input_text", text: "Be brief." }] }],
    });
    checkShape("conversationItems", added);
    expect(added.data.map(textOf)).toEqual(["Be brief."]);
    const reply = await client.responses.create({ ...greedy, conversation: id, input: whoAmI });
    expect(reply.output_text).toContain("Ada");
    expect(await texts(id)).toEqual([ada.content, nice.content, "Be brief.", whoAmI, reply.output_text]);

    const [first] = (await client.conversations.items.list(id, { order: "asc" })).data;
    const conversation_id = id;
    const got = await client.conversations.items.retrieve(first?.id ?? "", { conversation_id });
    expect(got).toEqual(first);
    const left = await client.conversations.items.delete(first?.id ?? "", { conversation_id });
    expect(left).toMatchObject({ id, object: "conversation" });
    const gone = client.conversations.items.retrieve(first?.id ?? "", { conversation_id });
    expect(await failureOf(gone)).toMatchObject({ status: 404 });
    expect((await texts(id))[0]).toBe(nice.content);
    const next = await client.responses.create({ ...greedy, conversation: id, input: "What is 7 plus 5?" });
    expect(next).toMatchObject({ state: "recomputed", status: "completed" });
  });

  it("of another conversation are unknown", async () => {
    const [one, two] = await Promise.all([
      client.conversations.create({ items: [ada] }),
      client.conversations.create({ items: [nice] }),
    ]);
    const [item] = (await client.conversations.items.list(one.id)).data;
    for (const id of [item?.id ?? "", "msg_x", `msg_${"a".repeat(32)}_1_1`]) {
      const { items } = client.conversations;
      const place = { conversation_id: two.id };
      for (const ask of [() => items.retrieve(id, place), () => items.delete(id, place)]) {
        expect(await failureOf(ask())).toEqual({ status: 404, code: "not_found", param: null });
      }
    }
    expect(await texts(two.id)).toEqual([nice.content]);
  });

  it("are made once by one Idempotency-Key", async () => {
    const headers = { "Idempotency-Key": "seed once" };
    const make = () => client.conversations.create({ items: [ada, nice] }, { headers });
    const [first, second] = [await make(), await make()];
    expect(second.id).toBe(first.id);
    expect(await texts(first.id)).toHaveLength(2);
  });

  it("that a response was asked are listed", async () => {
    const input = Array.from({ length: 5 }, (_, i) => ({ role: "user" as const, content: `Say ${i}.` }));
    const { id } = await client.responses.create({ ...greedy, input, instructions: "Be brief." });
    const list = await client.responses.inputItems.list(id, { order: "asc", limit: 2 });
    checkShape("inputItems", { object: "list", first_id: "", last_id: "", ...list });
    expect((await collect(list)).map(textOf)).toEqual(input.map(({ content }) => content));
    const newest = await client.responses.inputItems.list(id);
    expect(newest.data.map(textOf)).toEqual(input.map(({ content }) => content).toReversed());
    const after = await client.responses.inputItems.list(id, { after: newest.data[1]?.id, limit: 1 });
    expect(after.data.map(textOf)).toEqual(["Say 2."]);
    const wrong = client.responses.inputItems.list(id, { after: "msg_x" });
    expect(await failureOf(wrong)).toEqual({ status: 400, code: "invalid_argument", param: "after" });
    const nobody = client.responses.inputItems.list(`resp_${"a".repeat(32)}_1`);
    expect(await failureOf(nobody)).toMatchObject({ status: 404 });
  });
});

describe("a conversation", () => {
  it("says when it goes, and goes sooner where it was asked to", async () => {
    const expires_after = { anchor: "last_active_at", seconds: 3_600 };
    const made = await client.post<Record<string, unknown>>("/conversations", { body: { expires_after } });
    const inS = (value: unknown) => Number(value) - Date.now() / 1000;
    expect(made).toMatchObject({ expires_after });
    expect(Math.abs(inS(made["expires_at"]) - 3_600)).toBeLessThan(60);
    const path = `/conversations/${String(made["id"])}`;
    const kept = await client.post<Record<string, unknown>>(path, { body: { metadata: {}, expires_after: null } });
    expect(kept["expires_after"]).toBeNull();
    expect(Math.abs(inS(kept["expires_at"]) - 30 * 86_400)).toBeLessThan(60);
    const wrong = { metadata: {}, expires_after: { anchor: "created_at", seconds: 1 } };
    expect(await failureOf(client.post(path, { body: wrong }))).toMatchObject({ param: "expires_after.anchor" });
  });
});

describe("forks at items", () => {
  it("answer a message anew, or another in its place", async () => {
    const { id: conversation } = await client.conversations.create();
    const fox = "Tell me a story about a fox.";
    await client.responses.create({ ...greedy, conversation, input: ada.content });
    const story = await client.responses.create({ ...greedy, conversation, input: fox });
    const items = (await client.conversations.items.list(conversation, { order: "asc" })).data;
    const fork = (body: object, headers = {}) =>
      client.post<{ id: string }>(`/conversations/${conversation}/fork`, { body, headers });

    const again = await fork({ item_id: items[2]?.id });
    expect(await texts(again.id)).toEqual([ada.content, textOf(items[1]!), fox]);
    const anew = await client.responses.create({ ...greedy, conversation: again.id, input: [] });
    expect(anew).toMatchObject({ output_text: story.output_text, state: "restored", usage: story.usage });

    const before = await fork({ item_id: items[1]?.id });
    const edited = await client.responses.create({ ...greedy, conversation: before.id, input: whoAmI });
    expect(edited).toMatchObject({ state: "restored" });
    expect(edited.output_text).toContain("Ada");

    const key = { "Idempotency-Key": "fork once" };
    const once = await fork({ item_id: items[2]?.id }, key);
    expect(await fork({ item_id: items[2]?.id }, key)).toEqual(once);
    expect(await failureOf(fork({}, key))).toMatchObject({ status: 422, code: "key_reused" });
    expect(await failureOf(fork({ item_id: "msg_x" }))).toEqual({ status: 404, code: "not_found", param: "item_id" });
    const both = fork({ item_id: items[0]?.id, response_id: story.id });
    expect(await failureOf(both)).toMatchObject({ status: 400, param: "item_id" });
  });
});

describe("a response that is not to be stored", () => {
  it("answers, and is not there afterwards", async () => {
    const kept = await client.responses.create({ ...greedy, input: ada.content, truncation: "auto" });
    expect(kept).toMatchObject({ store: true, truncation: "auto" });
    const previous_response_id = kept.id;
    const aside = await client.responses.create({ ...greedy, input: whoAmI, previous_response_id, store: false });
    expect(aside).toMatchObject({ store: false, truncation: "disabled", status: "completed", state: "restored" });
    expect(aside.output_text).toContain("Ada");
    await expect.poll(() => failureOf(client.responses.retrieve(aside.id))).toMatchObject({ status: 404 });
    const next = client.responses.create({ ...greedy, input: "Hi.", previous_response_id: aside.id });
    expect(await failureOf(next)).toEqual({
      status: 404,
      code: "previous_response_not_found",
      param: "previous_response_id",
    });
    const events = await collect(
      await client.responses.create({ ...greedy, input: "Hi.", store: false, stream: true }),
    );
    expect(events.at(-1)).toMatchObject({ type: "response.completed", response: { store: false } });
  });
});
