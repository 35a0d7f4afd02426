// A whole server with a real origin behind it: what ran where is said, states go out and in, and an origin that is killed
// in the middle of a reply costs nothing.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasOrigin, skipNote, startOrigin, type RealOrigin } from "../origin/real-origin.ts";
import { startServer, type TestServer } from "../server.ts";
import { ask } from "./client.ts";

const key = "a-key-of-these-tests";

interface Answer {
  output: { content: { text: string }[] }[];
  usage: { input_tokens: number; output_tokens: number };
  state: string;
  griffin: { placement: string; computed_tokens: number };
}

describe.skipIf(!hasOrigin)(`a server with an origin${skipNote}`, () => {
  let origin: RealOrigin;
  let server: TestServer;
  let alone: TestServer;
  beforeAll(async () => {
    origin = await startOrigin("models/pocket", { GRIFFIN_ORIGIN_KEY: key });
    const environment = { ORIGIN_URL: `${origin.url}/`, ORIGIN_KEY: key, ORIGIN_PREFILL_TOKENS: "40" };
    [server, alone] = await Promise.all([startServer({ environment }), startServer()]);
  }, 420_000);
  afterAll(async () => {
    await Promise.all([server.stop(), alone.stop(), origin.stop()]);
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

  it("answers as before when the origin is killed, whatever was being read there", async () => {
    const input = story.repeat(30);
    const expected = await respond(alone, { input, max_output_tokens: 20 });
    const running = respond(server, { input, max_output_tokens: 20 });
    await origin.kill();
    const [first, second] = [await running, await respond(server, { input, max_output_tokens: 20 })];
    expect([first.text, second.text]).toEqual([expected.text, expected.text]);
    expect(second.griffin.placement).toBe("edge");
    expect(server.log()).toMatch(/"event":"origin_failed","model":"pocket","error_code":"origin_failed"/);
    expect(server.log()).not.toContain(key);
  });
});
