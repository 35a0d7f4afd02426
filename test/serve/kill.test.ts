// kill -9 at random moments of a reply: the reply that comes in the end is the one that would have come anyway, and
// nothing that was there before is lost or torn.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keyOf, uniformAt } from "../../src/engine/threefry.ts";
import { startServer, type TestServer } from "../server.ts";
import { respond, retrieve, settled, type Reply } from "./client.ts";
import { openDatabases } from "./database.ts";
import { talk } from "./talk.ts";

const kills = 50;
const key = keyOf(4711n);

/** A background response; greedy decoding would hide a lost seed or position. */
const begin = (server: TestServer, i: number, before: Reply | undefined) =>
  respond(server, {
    input: `${talk(i)} ${talk(i + 1)} ${talk(i + 2)} Tell me a story about a bear.`,
    previous_response_id: before?.id ?? null,
    background: true,
    temperature: 0.9,
    seed: i,
  });

/** Of a reply, what does not depend on how often it was interrupted. */
const told = ({ status, text, promptTokens, completionTokens }: Reply) => ({
  status,
  text,
  promptTokens,
  completionTokens,
});

describe(`${kills} background responses, each killed at a random moment`, () => {
  let server: TestServer;
  const expected: Reply[] = [];
  const replies: Reply[] = [];
  /** How many turns were begun more than once. */
  let interrupted = 0;
  beforeAll(async () => {
    server = await startServer();
    const durationsMs: number[] = [];
    for (let i = 0; i < kills; i++) {
      const startMs = performance.now();
      expected.push(await settled(server, (await begin(server, i, expected.at(-1))).id));
      durationsMs.push(performance.now() - startMs);
    }
    for (let i = 0; i < kills; i++) {
      const { id } = await begin(server, i, replies.at(-1));
      await sleep(uniformAt(key, i) * durationsMs[i]!);
      await server.kill("SIGKILL");
      await server.restart();
      replies.push(await settled(server, id));
    }
    await server.kill("SIGKILL");
    for (const database of await openDatabases(server)) {
      interrupted += Number(database.prepare("SELECT count(*) AS n FROM turns WHERE attempts > 1").get()!["n"]);
      database.close();
    }
    await server.restart();
  }, 300_000);
  afterAll(() => server.stop());

  it("were killed while they ran, many of them", () => {
    expect(interrupted).toBeGreaterThan(kills / 4);
  });

  it("end with the text and the token counts of an uninterrupted run", () => {
    expect(replies.map(told)).toEqual(expected.map(told));
    expect(new Set(replies.map((reply) => reply.text)).size).toBeGreaterThan(kills / 2);
  });

  it("are all still there", async () => {
    for (const reply of replies) expect(await retrieve(server, reply.id)).toEqual(reply);
  });

  it("leave a state that the chat goes on from as if nothing had happened", async () => {
    const last = (before: Reply) => respond(server, { input: "Tell me a story.", previous_response_id: before.id });
    const [after, wanted] = [await last(replies.at(-1)!), await last(expected.at(-1)!)];
    expect(after.state).toBe("restored");
    expect(after.griffin.computed_tokens).toBe(wanted.griffin.computed_tokens);
    expect(told(after)).toEqual(told(wanted));
  });
});
