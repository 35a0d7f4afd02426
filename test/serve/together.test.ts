// 20 chats at once in one isolate: each gets, bit for bit, what it gets alone.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { complete, type Message } from "./client.ts";
import { talk } from "./talk.ts";

const names = ["Ada", "Ben", "Felix", "Hugo", "Iris", "Noah", "Rosa", "Sam", "Vera", "Zoe"];
const turns = 4;

/** Chat c of 20; two chats share each name, and with it the object that keeps their prefix. */
async function chat(server: TestServer, c: number) {
  const name = names[c >> 1]!;
  const inputs = [`My name is ${name}.`, talk(c), "Tell me a story about a fox.", "What is my name?"];
  const messages: Message[] = [];
  const said: { text: string; logProbabilities: unknown[]; completionTokens: number }[] = [];
  for (const [turn, content] of inputs.entries()) {
    messages.push({ role: "user", content });
    const sampling = { temperature: turn === turns - 1 ? 0 : 0.8, seed: 100 * c + turn };
    const { text, logProbabilities, completionTokens } = await complete(server, messages, {
      ...sampling,
      logprobs: true,
      top_logprobs: 3,
    });
    said.push({ text, logProbabilities, completionTokens });
    messages.push({ role: "assistant", content: text });
  }
  return said;
}

describe("20 chats at once", () => {
  const chats = Array.from({ length: 2 * names.length }, (_, c) => c);
  let servers: TestServer[];
  let alone: Awaited<ReturnType<typeof chat>>[];
  let together: Awaited<ReturnType<typeof chat>>[];
  beforeAll(async () => {
    servers = await Promise.all([startServer(), startServer()]);
    const [first, second] = servers as [TestServer, TestServer];
    alone = [];
    for (const c of chats) alone.push(await chat(first, c));
    together = await Promise.all(chats.map((c) => chat(second, c)));
  });
  afterAll(() => Promise.all(servers.map((server) => server.stop())));

  it("say what each says alone, with the same log-probabilities to the last bit", () => {
    for (const c of chats) expect(together[c], `chat ${c}`).toEqual(alone[c]);
    const floats = alone.flat().flatMap((turn) => turn.logProbabilities);
    expect(floats.length).toBe(alone.flat().reduce((sum, turn) => sum + turn.completionTokens, 0));
  });

  it("know their own name and no other", () => {
    for (const c of chats) {
      const last = together[c]!.at(-1)!.text;
      expect(names.filter((name) => last.includes(name))).toEqual([names[c >> 1]]);
    }
  });
});
