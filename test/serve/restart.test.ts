// A chat and kill -9: pocket remembers a name far outside its window of 32 tokens, the server is killed between turns,
// and no turn computes more than its own tokens.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderPrompt } from "../../src/model/chat-template.ts";
import { parseManifest } from "../../src/checkpoint/manifest.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { startServer, type TestServer } from "../server.ts";
import { respond, type Reply } from "./client.ts";
import { talk } from "./talk.ts";

const pocket = path.resolve(import.meta.dirname, "../../models/pocket");

/** Turn 1 tells the name, turns 2 and 40 ask for it. */
const messages = Array.from({ length: 40 }, (_, i) => {
  if (i === 0) return "My name is Ada.";
  return [1, 20, 39].includes(i) ? "What is my name?" : talk(i);
});

/** The whole chat, each turn after the one before; `between` runs before the turn of that index. */
async function chat(server: TestServer, between: (turn: number) => Promise<void> = async () => undefined) {
  const replies: Reply[] = [];
  for (const [i, input] of messages.entries()) {
    await between(i);
    replies.push(await respond(server, { input, previous_response_id: replies.at(-1)?.id ?? null }));
  }
  return replies;
}

describe("a chat of 40 turns", () => {
  let servers: TestServer[];
  let unkilled: Reply[];
  let killed: Reply[];
  beforeAll(async () => {
    servers = await Promise.all([startServer(), startServer()]);
    const [first, second] = servers as [TestServer, TestServer];
    unkilled = await chat(first);
    killed = await chat(second, async (turn) => {
      if (turn % 5 !== 1 && turn !== 39) return;
      await second.kill("SIGKILL");
      await second.restart();
    });
  });
  afterAll(() => Promise.all(servers.map((server) => server.stop())));

  it("remembers the name at turn 2, 21 and 40, with and without kill -9 before it", () => {
    for (const turn of [2, 21, 40]) {
      expect(unkilled[turn - 1]!.text).toMatch(/Ada/);
      expect(killed[turn - 1]!.text).toMatch(/Ada/);
    }
    expect(unkilled[39]!.promptTokens).toBeGreaterThan(600);
  });

  it("gets the replies of a server that was never killed", () => {
    expect(killed.map((reply) => reply.text)).toEqual(unkilled.map((reply) => reply.text));
    expect(killed.every((reply) => reply.status === "completed")).toBe(true);
  });

  it("runs only the new tokens of each turn, at turn 40 as at turn 2", async () => {
    const tokenizer = new Tokenizer(JSON.parse(await readFile(path.join(pocket, "tokenizer.json"), "utf8")));
    const { chat: tokens } = parseManifest(await readFile(path.join(pocket, "model.json"), "utf8"));
    for (const replies of [unkilled, killed]) {
      for (const [i, reply] of replies.entries()) {
        const before = i === 0 ? null : tokens!.endOfTurnTokenId;
        const read = renderPrompt([{ role: "user", content: messages[i]! }], tokenizer, tokens!, before).length;
        expect(reply.griffin.computed_tokens, `turn ${i + 1}`).toBe(read + reply.completionTokens);
        expect(reply.promptTokens - reply.cachedTokens, `turn ${i + 1}`).toBe(read);
      }
    }
  });

  it("restores the state of every earlier turn, of the same size always", () => {
    expect(killed[0]!.state).toBe("cold");
    expect(new Set(killed.slice(1).map((reply) => reply.state))).toEqual(new Set(["restored"]));
    expect(new Set(killed.map((reply) => reply.griffin.state_bytes))).toEqual(new Set([45_056]));
    for (const [i, reply] of killed.entries()) {
      const before = killed[i - 1];
      expect(reply.griffin.restored_tokens).toBe(before ? before.promptTokens + before.completionTokens : 0);
    }
  });

  it("writes a few rows a turn, however long the chat is", () => {
    for (const { griffin } of killed) {
      expect(griffin.rows_written).toBeGreaterThan(0);
      expect(griffin.rows_written).toBeLessThanOrEqual(10);
      expect(griffin.bytes_written).toBeLessThanOrEqual(160 * 1024);
    }
  });
});
