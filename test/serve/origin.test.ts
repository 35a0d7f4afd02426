// A whole server with a real origin behind it: what ran where is said, states go out and in, and an origin that is killed
// in the middle of a reply costs nothing. A model that does not fit here is only there: it outlives the death of either.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { hasOrigin, openWay, skipNote, startOrigin, type RealOrigin, type Way } from "../origin/real-origin.ts";
import { startServer, type TestServer } from "../server.ts";
import { ask, settled } from "./client.ts";
import { openDatabases } from "./database.ts";

const key = "a-key-of-these-tests";

interface Answer {
  id: string;
  output: { content: { text: string }[] }[];
  usage: { input_tokens: number; output_tokens: number };
  state: string;
  griffin: { placement: string; computed_tokens: number; restored_tokens: number };
}

describe.skipIf(!hasOrigin)(`a server with an origin${skipNote}`, () => {
  let origin: RealOrigin;
  let server: TestServer;
  let alone: TestServer;
  /** A server that pocket does not fit into, and its way to the origin. */
  let small: TestServer;
  let way: Way;
  beforeAll(async () => {
    origin = await startOrigin("models/pocket", { GRIFFIN_ORIGIN_KEY: key });
    const environment = { ORIGIN_URL: `${origin.url}/`, ORIGIN_KEY: key, ORIGIN_PREFILL_TOKENS: "40" };
    way = await openWay(origin.url);
    const noRoom = { ...environment, ORIGIN_URL: way.url, MODEL_MEMORY_MB: "1" };
    [server, alone, small] = await Promise.all([
      startServer({ environment }),
      startServer(),
      startServer({ environment: noRoom }),
    ]);
  }, 420_000);
  afterAll(async () => {
    way.close();
    await Promise.all([server.stop(), alone.stop(), small.stop(), origin.stop()]);
  });

  const respond = async (to: TestServer, body: object): Promise<Answer & { text: string }> => {
    const response = await ask(to, "/v1/responses", { temperature: 0, ...body });
    const answer = (await response.json()) as Answer;
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return { ...answer, text: answer.output[0]!.content[0]!.text };
  };
  const newChat = async (on: TestServer) =>
    ((await (await ask(on, "/v1/conversations", {})).json()) as { id: string }).id;
  const story = `My name is Zoe. ${"Tell me a story about a fox. ".repeat(6)}`;

  it("reads long prompts there and short ones here, in one chat, and says so", async () => {
    const inputs = [story, "What is my name?", story, "What is 7 plus 5?"];
    const [chat, other] = [await newChat(server), await newChat(alone)];
    const placements = [];
    for (const input of inputs) {
      const ours = await respond(server, { conversation: chat, input });
      const expected = await respond(alone, { conversation: other, input });
      expect([ours.text, ours.usage, ours.state]).toEqual([expected.text, expected.usage, expected.state]);
      expect(ours.griffin.computed_tokens).toBe(expected.griffin.computed_tokens);
      expect(expected.griffin.placement).toBe("edge");
      placements.push(ours.griffin.placement);
    }
    expect(placements).toEqual(["origin_prefill", "edge", "origin_prefill", "edge"]);
    const metrics = await (await ask(server, "/metrics")).text();
    expect(metrics).toMatch(/griffin_placements_total\{model="pocket",placement="origin_prefill"\} \d/);
  });

  it("gives out a state that was made at both sides, and another server goes on with it", async () => {
    const chat = await newChat(server);
    await respond(server, { conversation: chat, input: story });
    const file = await (await ask(server, `/v1/conversations/${chat}/state`)).arrayBuffer();
    const there = await newChat(alone);
    const put = (on: TestServer, id: string, body: ArrayBuffer) =>
      fetch(`${on.url}/v1/conversations/${id}/state`, {
        method: "PUT",
        body,
        headers: { "content-type": "application/octet-stream" },
      });
    expect((await put(alone, there, file)).status).toBe(200);
    const input = "What is my name?";
    const gone = await respond(alone, { conversation: there, input });
    expect(gone.text).toBe((await respond(server, { conversation: chat, input })).text);
    const back = await newChat(server);
    const returned = await (await ask(alone, `/v1/conversations/${there}/state`)).arrayBuffer();
    expect((await put(server, back, returned)).status).toBe(200);
    const last = await respond(server, { conversation: back, input: story });
    expect(last.griffin.placement).toBe("origin_prefill");
    expect(last.text).toBe((await respond(alone, { conversation: there, input: story })).text);
  });

  it("has a model that does not fit here there, says when to come again while it is away, and goes on", async () => {
    const [chat, other] = [await newChat(small), await newChat(alone)];
    const say = async (input: string) => {
      const ours = await respond(small, { conversation: chat, input });
      expect(ours.griffin.placement).toBe("origin");
      const expected = await respond(alone, { conversation: other, input });
      expect([ours.text, ours.usage]).toEqual([expected.text, expected.usage]);
    };
    await say("My name is Ada.");
    way.break();
    const messages = [{ role: "user", content: "What is 7 plus 5?" }];
    for (let i = 0; i < 2; i++) {
      const refused = await ask(small, "/v1/chat/completions", { messages });
      expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
      expect(await refused.json()).toMatchObject({ error: { code: "origin_away", type: "server_error" } });
    }
    way.mend();
    await expect.poll(async () => (await ask(small, "/v1/chat/completions", { messages })).status).toBe(200);
    await say("What is my name?");
    for (const [path, body] of [
      ["/v1/chat/completions", { messages, response_format: { type: "json_object" } }],
      ["/v1/completions", { prompt: "a", structured_outputs: { regex: "a+" }, stream: true }],
      ["/v1/completions", { prompt: "a b", echo: true, logprobs: 1, stream: true }],
    ] as const) {
      const refused = await ask(small, path, body);
      expect([path, refused.status]).toEqual([path, 400]);
      expect(await refused.json()).toMatchObject({ error: { code: "unsupported" } });
    }
  });

  /** A reply of 500 tokens, which nothing but its length ends. */
  const long = { input: "Tell me a story.", temperature: 1, seed: 6, max_output_tokens: 500 };
  const unending = { ...long, background: true, logit_bias: { 1: -100, 5: -100 } };

  /** Begins that reply, and reads its text until it has so many characters. */
  async function readSome(
    characters: number,
    from = small,
    asked: object = unending,
  ): Promise<{ id: string; seen: string; deltas: number }> {
    const { body } = await ask(from, "/v1/responses", { ...asked, stream: true });
    let [id, seen, deltas] = ["", "", 0];
    let text = "";
    for await (const chunk of body!.pipeThrough(new TextDecoderStream())) {
      const lines = (text += chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith("data: {")) continue;
        const event = JSON.parse(line.slice(6)) as { delta?: string; response?: { id: string } };
        id = event.response?.id ?? id;
        seen += event.delta ?? "";
        deltas += Number(event.delta !== undefined);
      }
      if (seen.length >= characters) break;
    }
    return { id, seen, deltas };
  }

  /** Tokens of replies in the making that are in the databases of a server that is down. */
  async function loggedTokens(of: TestServer): Promise<number> {
    let logged = 0;
    for (const database of await openDatabases(of)) {
      // An object in which nothing was said has no tables.
      const has = database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'log'").get();
      // Behind each part's checksum, and the mark of the first.
      const row = has && database.prepare("SELECT sum(length(tokens) / 4 - 1) - 1 AS n FROM log").get();
      logged += Number(row?.["n"] ?? 0);
      database.close();
    }
    return logged;
  }

  it("goes on with a reply of the origin's when it is killed itself, in the words that were seen", async () => {
    const { id: undisturbed } = await respond(small, { ...unending, background: false });
    const whole = await settled(small, undisturbed);
    expect(whole.completionTokens).toBe(500);
    for (const characters of [1, 200]) {
      const { id, seen, deltas } = await readSome(characters);
      await small.kill("SIGKILL");
      expect(await loggedTokens(small)).toBeGreaterThanOrEqual(deltas);
      await small.restart();
      const ended = await settled(small, id);
      expect(seen.length).toBeGreaterThanOrEqual(characters);
      expect(seen.length).toBeLessThan(whole.text.length);
      expect(ended.text.startsWith(seen)).toBe(true);
      expect([ended.text, ended.status]).toEqual([whole.text, "incomplete"]);
    }
  });

  it("shows nothing that is not kept of a reply whose shared texts may be read there the next time", async () => {
    const asked = { ...unending, instructions: story, input: "Hello!" };
    const { griffin } = await respond(server, { ...asked, background: false });
    expect(griffin.placement).toBe("edge");
    const { id, seen, deltas } = await readSome(1, server, asked);
    await server.kill("SIGKILL");
    expect(await loggedTokens(server)).toBeGreaterThanOrEqual(deltas);
    await server.restart();
    expect((await settled(server, id)).text.startsWith(seen)).toBe(true);
  });

  it("waits for the origin with a reply in the background that had not begun when the origin was lost", async () => {
    const input = story.repeat(100);
    const begun = (await (await ask(small, "/v1/responses", { ...unending, input })).json()) as { id: string };
    way.break();
    await sleep(1_000);
    expect(await (await ask(small, `/v1/responses/${begun.id}`)).json()).toMatchObject({ status: "in_progress" });
    way.mend();
    expect(await settled(small, begun.id)).toMatchObject({ status: "incomplete", completionTokens: 500 });
  });

  it("keeps what was said of a reply that is cancelled when the origin is lost, and reads it again to go on", async () => {
    const conversation = await newChat(small);
    const { id, seen } = await readSome(50, small, { ...unending, conversation, max_output_tokens: 5_000 });
    way.break();
    expect((await ask(small, `/v1/responses/${id}/cancel`, {})).status).toBe(200);
    const ended = await settled(small, id);
    expect(ended.text.startsWith(seen)).toBe(true);
    expect(ended.status).toBe("cancelled");
    way.mend();
    for (const place of [{ conversation }, { previous_response_id: id }]) {
      const gone = () => respond(small, { ...place, input: "Hello!" });
      const next = await vi.waitUntil(() => gone().catch(() => null), 10_000);
      expect([next!.state, next!.griffin.restored_tokens]).toEqual(["recomputed", 0]);
      expect(next!.usage.input_tokens).toBeGreaterThan(ended.completionTokens);
    }
  });

  it("waits for the origin with a reply that had not begun when it was killed", async () => {
    const input = story.repeat(100);
    const begun = (await (await ask(small, "/v1/responses", { ...unending, input })).json()) as { id: string };
    await small.kill("SIGKILL");
    way.break();
    await small.restart();
    expect(await (await ask(small, `/v1/responses/${begun.id}`)).json()).toMatchObject({ status: "in_progress" });
    await expect.poll(() => small.log()).toMatch(/"event":"origin_failed".*"error_code":"origin_away"/);
    await sleep(1_000);
    way.mend();
    expect(await settled(small, begun.id)).toMatchObject({ status: "incomplete", completionTokens: 500 });
  });

  it("goes on with a reply when the origin that it is made at is killed and comes back", async () => {
    const { id, seen } = await readSome(50);
    await origin.kill();
    await origin.start();
    const ended = await settled(small, id, 60_000);
    expect(ended.text.startsWith(seen)).toBe(true);
    expect(ended).toMatchObject({ status: "incomplete", completionTokens: 500 });
  }, 180_000);

  it("answers as before when the origin is killed, whatever was being read there", async () => {
    const input = story.repeat(30);
    const expected = await respond(alone, { input, max_output_tokens: 20 });
    const running = respond(server, { input, max_output_tokens: 20 });
    await origin.kill();
    const [first, second] = [await running, await respond(server, { input, max_output_tokens: 20 })];
    expect([first.text, second.text]).toEqual([expected.text, expected.text]);
    expect(second.griffin.placement).toBe("edge");
    expect(server.log()).toMatch(/"event":"origin_failed","model":"pocket","error_code":"origin_(away|failed)"/);
    expect(server.log()).not.toContain(key);
  });
});
