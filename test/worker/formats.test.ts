// Turns that are held to a format, in real workerd: interrupted, replayed, and after the model's tokens are another's.
import { abortAllDurableObjects, env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { ReplyFormat, ToolUse, TurnOptions } from "../../src/conversation/protocol.ts";
import { openStore } from "../../src/conversation/store.ts";
import { readCall } from "../../src/model/tool-text.ts";
import { eventsOf, finalView, readTokens, say, stubOf, textOf, turn } from "./turns.ts";

const words: ReplyFormat = { type: "regex", pattern: "([a-z]{3,9} ){400}[a-z]{3,9}\\." };
const sampled: Partial<TurnOptions> = { temperature: 1, seed: "7", maxTokens: 2_000 };
const parameters = JSON.stringify({ type: "object", properties: { city: { type: "string" } }, required: ["city"] });
const weather = { name: "get_weather", description: null, parameters, strict: null };
const tools: ToolUse = { list: [weather], choice: "required", isParallel: true, isTold: true };

const objectOf = (name: string) => env.CONVERSATIONS.get(env.CONVERSATIONS.idFromName(name)) as never;

describe("a turn with a format", () => {
  it("goes on after its object died in the middle, to the reply that would have come", async () => {
    const options = { ...sampled, format: words };
    await stubOf("format whole").create({});
    const whole = await turn(stubOf("format whole"), say("Tell me a story.", { options }));
    expect(whole.text).toMatch(/^([a-z]{3,9} ){400}[a-z]{3,9}\.$/);
    expect(whole.status).toBe("completed");
    for (const diesAt of [1, 100, 300]) {
      const name = `format dies at ${diesAt}`;
      await stubOf(name).create({});
      const { turn: running } = await stubOf(name).begin(say("Tell me a story.", { options }));
      await readTokens(await stubOf(name).events(running), diesAt);
      await abortAllDurableObjects();
      const events = await eventsOf(await stubOf(name).events(running));
      expect(textOf(events)).toBe(whole.text);
      expect(finalView(events)).toMatchObject({ status: "completed", usage: whole.usage });
    }
  });

  it("is refused before it is kept, where no reply can have it", async () => {
    const stub = stubOf("format refused");
    await stub.create({});
    const format: ReplyFormat = { type: "regex", pattern: "(a)\\1" };
    const refused = await runInDurableObject(objectOf("format refused"), async (object) => {
      const conversation = object as unknown as { begin(request: unknown): Promise<unknown> };
      return conversation.begin(say("Hello.", { options: { format } })).then(
        () => null,
        (error: { code: string; cause: unknown }) => ({ code: error.code, cause: error.cause }),
      );
    });
    expect(refused).toEqual({ code: "unsupported", cause: { param: "format" } });
    expect(
      await runInDurableObject(objectOf("format refused"), (_, { storage }) => openStore(storage).counts()),
    ).toMatchObject({
      turns: 0,
    });
  });
});

describe("a turn with tools", () => {
  const called = async (name: string) => {
    const stub = stubOf(name);
    await stub.create({});
    const first = await turn(stub, say("How is it in Ulm?", { options: { ...sampled, tools } }));
    const auto = { ...sampled, maxTokens: 30, tools: { ...tools, choice: "auto" as const } };
    const answer = { messages: [{ role: "tool" as const, content: "Rain" }], answers: [first.turn], options: auto };
    return { first, second: await turn(stubOf(name), say("", answer)) };
  };

  it("calls one, and tells the model of the same tools once", async () => {
    const { first, second } = await called("tools");
    expect(readCall(first.text)).toMatchObject({ name: "get_weather", isWhole: true });
    expect(first).toMatchObject({ mayCall: true, options: { tools: { isTold: true } } });
    expect(second).toMatchObject({ state: "restored", options: { tools: { isTold: false } } });
    const other = { ...tools, choice: "auto" as const, list: [{ ...weather, name: "get_time" }] };
    const third = await turn(stubOf("tools"), say("And now?", { options: { ...sampled, maxTokens: 5, tools: other } }));
    expect(third.options.tools?.isTold).toBe(true);
  });

  it("says the same when all states are gone, or the tokens are another model's", async () => {
    const { second } = await called("tools again");
    const read = () =>
      stubOf("tools again").countTokens({
        model: "pocket",
        place: { kind: "branch", branch: 0 },
        messages: [{ role: "user", content: "Go on." }],
        tools: null,
      });
    const count = await read();
    await runInDurableObject(objectOf("tools again"), (_, { storage }) => {
      storage.sql.exec("UPDATE turns SET checkpoint = 'another'");
      storage.sql.exec("UPDATE snapshots SET checkpoint = 'another'");
    });
    await evictDurableObject(objectOf("tools again"));
    // Read again from texts: what the model was told of tools is among them. The reply that was cut may be spelt shorter.
    const again = await read();
    expect(Math.abs(again - count)).toBeLessThan(40 + second.usage!.completionTokens);
  });

  it("refuses answers to what is no call", async () => {
    const { second } = await called("tools wrong");
    const refused = await runInDurableObject(objectOf("tools wrong"), async (object) => {
      const conversation = object as unknown as { begin(request: unknown): Promise<unknown> };
      const wrong = say("", { messages: [{ role: "tool", content: "Rain" }], answers: [second.turn] });
      return conversation.begin(wrong).then(
        () => null,
        (error: { code: string; cause: unknown }) => ({ code: error.code, cause: error.cause }),
      );
    });
    expect(refused).toEqual({ code: "invalid_argument", cause: { param: "answers[0]" } });
  });
});
