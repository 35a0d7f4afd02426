// States over HTTP: from a conversation of one server into one of another.
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";

const greedy = { model: "pocket", temperature: 0 };
const whoAmI = "What is my name?";

let servers: TestServer[] = [];
let [here, there]: OpenAI[] = [];
beforeAll(async () => {
  servers = await Promise.all([startServer(), startServer()]);
  [here, there] = servers.map(({ url }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 }));
});
afterAll(() => Promise.all(servers.map((server) => server.stop())));

const stateUrl = (server: number, id: string) => `${servers[server]?.url}/v1/conversations/${id}/state`;
const put = (server: number, id: string, body: BodyInit, query = "") =>
  fetch(`${stateUrl(server, id)}${query}`, { method: "PUT", body, ...({ duplex: "half" } as object) });

async function chatOf(client: OpenAI | undefined, ...inputs: string[]): Promise<string> {
  const { id: conversation } = await client!.conversations.create();
  for (const input of inputs) await client!.responses.create({ ...greedy, conversation, input });
  return conversation;
}

it("a state goes on on another server as it would have here, in another conversation", async () => {
  const from = await chatOf(here, "My name is Ada.", "Tell me a story about a fox.");
  const answer = await fetch(stateUrl(0, from));
  expect(answer.headers.get("content-type")).toBe("application/octet-stream");
  expect(answer.headers.get("content-disposition")).toBe(`attachment; filename="${from}.safetensors"`);
  const file = new Uint8Array(await answer.arrayBuffer());

  const to = await chatOf(there);
  const imported = await put(1, to, file);
  expect(imported.status).toBe(200);
  const conversation = (await imported.json()) as OpenAI.Conversations.Conversation & { head: string };
  expect(conversation).toMatchObject({ id: to, object: "conversation", head: expect.stringMatching(/^resp_/) });
  expect((await there!.responses.retrieve(conversation.head)).output).toEqual([]);
  expect((await there!.conversations.items.list(to)).data).toEqual([]);
  expect(new Uint8Array(await (await fetch(stateUrl(1, to))).arrayBuffer())).toEqual(file);

  const expected = await here!.responses.create({ ...greedy, conversation: from, input: whoAmI });
  const got = await there!.responses.create({ ...greedy, conversation: to, input: whoAmI });
  expect(got.output_text).toContain("Ada");
  expect(got).toMatchObject({ output_text: expected.output_text, usage: expected.usage, state: "restored" });
  expect((await there!.conversations.items.list(to)).data).toHaveLength(2);
});

it("what is no state of the model is refused, and the chat goes on", async () => {
  const id = await chatOf(here, "My name is Ada.");
  const file = new Uint8Array(await (await fetch(stateUrl(0, id))).arrayBuffer());
  const damaged = file.slice();
  damaged[file.length - 1] = 1;
  const errorOf = async (answer: Promise<Response>) => {
    const { status, ...response } = await answer.then(async (each) => ({
      status: each.status,
      body: await each.json(),
    }));
    return { status, ...(response.body as { error: { code: string } }).error };
  };
  const invalid = { status: 400, code: "invalid_state" };
  for (const body of [damaged, file.slice(0, 999), new Uint8Array(0), "SECRET"]) {
    const error = await errorOf(put(0, id, body));
    expect(error).toMatchObject(invalid);
    expect(JSON.stringify(error)).not.toContain("SECRET");
  }
  expect(await errorOf(fetch(stateUrl(0, await chatOf(here))))).toMatchObject(invalid);
  expect(await errorOf(put(0, id, new Uint8Array(2 ** 20)))).toMatchObject({ status: 413, code: "body_too_large" });
  const pieces = new Blob(Array.from({ length: 20 }, () => new Uint8Array(2 ** 16))).stream();
  expect(await errorOf(put(0, id, pieces))).toMatchObject({ status: 413 });
  expect(await errorOf(put(0, id, file, "?model=x"))).toMatchObject({ status: 404, code: "model_not_found" });
  const nobody = `conv_${"a".repeat(32)}_0`;
  expect(await errorOf(put(0, nobody, file))).toMatchObject({ status: 404, code: "not_found" });
  expect(await errorOf(fetch(stateUrl(0, nobody)))).toMatchObject({ status: 404, code: "not_found" });
  const answer = await here!.responses.create({ ...greedy, conversation: id, input: whoAmI });
  expect(answer.output_text).toContain("Ada");
});
