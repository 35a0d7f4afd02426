// Streams that go on where they broke off: after the client lost its connection, and after the server was killed.
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.stop());

interface Message {
  id: string | undefined;
  event: { type: string; sequence_number: number; delta?: string; response?: { status: string } };
}

/** A long reply, the same whenever it is asked for, in the background of a conversation. */
async function begin(tokens: number, seed = 11) {
  const { id: conversation } = await client.conversations.create();
  const body = { seed, logit_bias: { "1": -100, "5": -100 } } as object;
  const request = { model: "pocket", input: "Tell me a story.", background: true, max_output_tokens: tokens };
  const { id: response } = await client.responses.create({ ...request, ...body, conversation });
  return { conversation, response };
}

/** Reads messages until there are so many, then goes away; all of them when no number is given. */
async function read(path: string, most = Infinity, headers: Record<string, string> = {}): Promise<Message[]> {
  const abort = new AbortController();
  const answer = await fetch(`${server.url}/v1${path}`, { headers, signal: abort.signal });
  if (answer.status !== 200 || answer.body === null) throw new Error(`status ${answer.status}`);
  const messages: Message[] = [];
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const whole = text.split("\n\n");
    text = whole.pop() ?? "";
    for (const message of whole) {
      const data = /^data: (.*)$/m.exec(message)?.[1];
      if (data === undefined || data === "[DONE]") continue;
      messages.push({ id: /^id: (.*)$/m.exec(message)?.[1], event: JSON.parse(data) as Message["event"] });
      if (messages.length >= most) break;
    }
    if (messages.length >= most) break;
  }
  abort.abort();
  return messages;
}

const eventsOf = (messages: readonly Message[]) => messages.map(({ event }) => event);
const numbers = (messages: readonly Message[]) => messages.map(({ event }) => event.sequence_number);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Reads a conversation's events to their end, going away and coming back after each of these counts. */
async function readInPieces(conversation: string, counts: readonly number[], between: () => Promise<void>) {
  const path = `/conversations/${conversation}/events`;
  const all: Message[] = [];
  for (const count of [...counts, Infinity]) {
    const last = all.at(-1)?.id;
    all.push(...(await read(path, count, last === undefined ? {} : { "last-event-id": last })));
    if (count !== Infinity) await between();
  }
  return all;
}

describe("the events of a conversation", () => {
  it("go on behind the last one that was seen, from any point, and are those of the response", async () => {
    const { conversation, response } = await begin(300);
    const all = await readInPieces(conversation, [1, 1, 2, 5, 40, 90], () => Promise.resolve());
    expect(numbers(all)).toEqual(upTo(all.length));
    expect(eventsOf(all)).toEqual(eventsOf(await read(`/responses/${response}?stream=true`)));
    const path = `/conversations/${conversation}/events`;
    expect(await read(path)).toEqual(all);
    for (const after of [0, 3, 100, all.length - 2]) {
      expect(await read(`${path}?starting_after=${after}`)).toEqual(all.slice(after + 1));
    }
    // Behind the end there is nothing, which tells an EventSource to stop.
    const end = await fetch(`${server.url}/v1${path}`, { headers: { "last-event-id": all.at(-1)?.id ?? "" } });
    expect(end.status).toBe(204);
    const next = await client.responses.create({ model: "pocket", input: "Hi.", conversation });
    const following = await read(path, Infinity, { "last-event-id": all.at(-1)?.id ?? "" });
    expect(following[0]?.event).toMatchObject({ type: "response.created", response: { id: next.id } });
  });

  it("go on after the server was killed in the middle, with the same text and numbers", async () => {
    const whole = await read(`/responses/${(await begin(3_000)).response}?stream=true`);
    const { conversation, response } = await begin(3_000);
    const statuses: (string | undefined)[] = [];
    const all = await readInPieces(conversation, [30, 300], async () => {
      statuses.push((await client.responses.retrieve(response)).status);
      await server.restart();
    });
    expect(statuses[0]).toBe("in_progress");
    expect(numbers(all)).toEqual(upTo(all.length));
    const text = (messages: Message[]) =>
      eventsOf(messages)
        .map(({ delta = "" }) => delta)
        .join("");
    expect(text(all)).toBe(text(whole));
    const again = await read(`/responses/${response}?stream=true`);
    expect(eventsOf(again)).toEqual(eventsOf(all));
  });

  it("end when the response is stopped, also where they were resumed", async () => {
    const { conversation, response } = await begin(60_000);
    const path = `/conversations/${conversation}/events`;
    const [last] = (await read(path, 20)).slice(-1);
    const resumed = read(path, Infinity, { "last-event-id": last?.id ?? "" });
    const other = read(`/responses/${response}?stream=true&starting_after=5`);
    await client.responses.cancel(response);
    for (const messages of [await resumed, await other]) {
      expect(messages.at(-1)?.event).toMatchObject({ type: "response.incomplete", response: { status: "cancelled" } });
    }
  });

  it("of nothing, and behind what is no event, are refused", async () => {
    const { id } = await client.conversations.create();
    const path = `${server.url}/v1/conversations/${id}/events`;
    expect((await fetch(path)).status).toBe(204);
    for (const wrong of ["x", "1", "7.1", "1.-1", "0.1"]) {
      const answer = await fetch(path, { headers: { "last-event-id": wrong } });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { code: "invalid_argument", param: "last-event-id" } });
    }
    expect((await fetch(path.replace(id, "conv_x"))).status).toBe(404);
  });
});

describe("the events of a response", () => {
  it("go on behind any number after the server was killed in the middle", async () => {
    const { response } = await begin(1_500, 12);
    const path = `/responses/${response}?stream=true`;
    const before = await read(path, 200);
    await server.restart();
    const after = await read(`${path}&starting_after=${before.at(-1)?.event.sequence_number}`);
    await server.restart();
    const all = await read(path);
    expect([...eventsOf(before), ...eventsOf(after)]).toEqual(eventsOf(all));
    expect(numbers(all)).toEqual(upTo(all.length));
    for (const at of [0, 4, 700, all.length - 2]) {
      expect(await read(`${path}&starting_after=${at}`)).toEqual(all.slice(at + 1));
    }
  });
});
