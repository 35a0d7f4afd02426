// System texts that many chats begin with: read once, and every chat says what it says alone.
import { evictDurableObject, runDurableObjectAlarm } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { leastSharedTokens } from "../../src/conversation/shared-start.ts";
import type { TurnPlace, TurnView } from "../../src/conversation/protocol.ts";
import type { ChatMessage } from "../../src/model/chat-template.ts";
import { inStorage, objectOf, refusal } from "./objects.ts";
import { say, stubOf, turn } from "./turns.ts";

const system: ChatMessage = {
  role: "system",
  content: "You are a kind fox who tells stories. Be brief, and never say a word about wolves. ".repeat(12).trimEnd(),
};
const user = (content: string): ChatMessage => ({ role: "user", content });

interface Ask {
  sharedBy: string | null;
  place?: TurnPlace;
  options?: object;
}

const ask = (name: string, messages: ChatMessage[], { sharedBy, place = { kind: "prefix" }, options }: Ask) =>
  turn(stubOf(name), say("", { messages, place, options: { ...options, sharedBy } }));

const result = ({ text, usage, status }: TurnView) => ({ text, status, promptTokens: usage?.promptTokens });
/** All bytes of the states that an object keeps. */
const bodiesOf = (name: string) =>
  inStorage(name, ({ sql }) => {
    const parts = sql.exec<{ bytes: ArrayBuffer }>("SELECT bytes FROM parts WHERE kind = 'snapshot'").toArray();
    const pages = sql.exec<{ bytes: ArrayBuffer }>("SELECT bytes FROM pages ORDER BY page").toArray();
    return [...parts, ...pages].map(({ bytes }) => new Uint8Array(bytes));
  });

describe("system texts that chats begin with", () => {
  it("are computed once and then shared, with the same replies and states, bit for bit", async () => {
    const options = { temperature: 1, seed: "5", repetitionPenalty: 1.2 };
    for (const [i, content] of ["My name is Ada.", "\n\nWhat is 7 plus 5?", "W", " a"].entries()) {
      const messages = [system, user(content)];
      const cold = await ask(`alone ${i}`, messages, { sharedBy: null, options });
      const shared = await ask(`together ${i}`, messages, { sharedBy: "shared", options });
      expect(result(shared)).toEqual(result(cold));
      expect(await bodiesOf(`together ${i}`)).toEqual(await bodiesOf(`alone ${i}`));
      const { cachedTokens = 0, computedTokens = 0 } = shared.usage ?? {};
      expect(cachedTokens + computedTokens).toBe(cold.usage?.computedTokens);
      if (i === 0) expect(shared).toMatchObject({ state: "cold", usage: { cachedTokens: 0 } });
    }
    const next = await ask("next", [system, user("Tell me a story.")], { sharedBy: "shared" });
    expect(next.state).toBe("shared");
    expect(next.usage?.cachedTokens).toBeGreaterThan(leastSharedTokens);
  });

  it("are shared by first turns of conversations too, after an eviction, and side by side", async () => {
    const place = { kind: "after", turn: null } as const;
    const messages = [system, user("What is 7 plus 5?")];
    const alone = await ask("response alone", messages, { sharedBy: null, place });
    const views = await Promise.all(
      Array.from({ length: 4 }, (_, i) => ask(`response ${i}`, messages, { sharedBy: "by responses", place })),
    );
    expect(views.map(({ state }) => state).toSorted()).toEqual(["cold", "shared", "shared", "shared"]);
    for (const view of views) expect(result(view)).toEqual(result(alone));
    await evictDurableObject(objectOf("by responses"));
    await stubOf("a conversation").create({});
    const first = await ask("a conversation", messages, {
      sharedBy: "by responses",
      place: { kind: "branch", branch: 0 },
    });
    expect(first).toMatchObject({ state: "shared", text: alone.text });
    const second = await turn(
      stubOf("a conversation"),
      say("And 2 plus 2?", { options: { sharedBy: "by responses" } }),
    );
    expect(second.state).toBe("restored");
  });

  it("are not asked for where they are short, others, or the chat goes on", async () => {
    const short = { role: "system" as const, content: "Be brief." };
    expect((await ask("short", [short, user("Hi.")], { sharedBy: "for short" })).state).toBe("cold");
    expect(await inStorage("for short", ({ sql }) => sql.exec("SELECT name FROM sqlite_master").toArray())).toEqual([]);
    await ask("one", [system, user("Hi.")], { sharedBy: "for one" });
    // An object by the wrong name changes nothing: it compares tokens. The last one has as many as the first text.
    for (const content of [`${system.content} And smile.`, system.content.replaceAll("kind", "good")]) {
      const other = [{ ...system, content }, user("Tell me a story about a fox.")];
      const cold = await ask(`other alone ${content}`, other, { sharedBy: null });
      await ask(`other ${content}`, other, { sharedBy: "for one" });
      const shared = await ask(`another ${content}`, other, { sharedBy: "for one" });
      expect(result(shared)).toEqual(result(cold));
      expect(await bodiesOf(`another ${content}`)).toEqual(await bodiesOf(`other alone ${content}`));
      expect(shared.state).toBe("shared");
    }
  });

  it("are forgotten a day after they were last used", async () => {
    const asked = (name: string) => ask(name, [system, user("Hi.")], { sharedBy: "for a day" });
    await asked("monday");
    const age = (ms: number) =>
      inStorage("for a day", ({ sql }) => sql.exec("UPDATE turns SET created_ms = created_ms - ?", ms));
    await age(23 * 3_600_000);
    expect((await asked("later")).state).toBe("shared");
    await runDurableObjectAlarm(objectOf("for a day"));
    expect((await asked("much later")).state).toBe("shared");
    await age(25 * 3_600_000);
    await runDurableObjectAlarm(objectOf("for a day"));
    expect(await inStorage("for a day", ({ sql }) => sql.exec("SELECT name FROM sqlite_master").toArray())).toEqual([]);
    expect((await asked("the day after")).state).toBe("cold");
  });

  it("are forgotten with what began with them: a response, an item, a conversation, or one that nobody uses", async () => {
    const messages = [system, user("My name is Ada.")];
    const place = { kind: "branch", branch: 0 } as const;
    const hour = 3_600_000;
    const ends: Record<string, (name: string) => Promise<unknown>> = {
      response: (name) => stubOf(name).remove(1),
      item: (name) => stubOf(name).removeItem(0, 1, 1),
      conversation: (name) => stubOf(name).removeBranch(0),
      unused: async (name) => {
        await inStorage(name, ({ sql }) => {
          sql.exec("UPDATE turns SET created_ms = created_ms - ?", 2 * hour);
          sql.exec("UPDATE branches SET active_ms = active_ms - ?", 2 * hour);
        });
        await runDurableObjectAlarm(objectOf(name));
        expect(await refusal(name, (object) => object.branch(0))).toBe("not_found");
      },
    };
    const tables = (name: string) => inStorage(name, ({ sql }) => sql.exec("SELECT name FROM sqlite_master").toArray());
    for (const [how, end] of Object.entries(ends)) {
      const [name, sharedBy] = [`ends by ${how}`, `kept until ${how}`];
      await stubOf(name).create({}, null, hour / 1000);
      await ask(name, messages, { sharedBy, place });
      expect((await ask(`${name}, beside`, messages, { sharedBy })).state).toBe("shared");
      await end(name);
      expect(await tables(sharedBy), how).toEqual([]);
      expect((await ask(`${name}, afterwards`, messages, { sharedBy })).state).toBe("cold");
      expect((await ask(`${name}, then`, messages, { sharedBy })).state).toBe("shared");
    }
  });

  it("stay with whoever asks for them to be forgotten where they are something else", async () => {
    await stubOf("a conversation too").create({ of: "Ada" });
    await stubOf("a conversation too").forgetSharedStarts();
    expect((await stubOf("a conversation too").branch(0)).metadata).toEqual({ of: "Ada" });
  });

  it("are a few at once in one object: the oldest go", async () => {
    for (let i = 0; i < 18; i++) {
      const other = { ...system, content: `${system.content} And say ${i}.` };
      await ask(`one of many ${i}`, [other, user("Hi.")], { sharedBy: "for many", options: { maxTokens: 1 } });
    }
    const counted = (table: string) =>
      inStorage("for many", ({ sql }) => sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${table}`).one().n);
    expect([await counted("turns"), await counted("snapshots")]).toEqual([16, 16]);
    const last = { ...system, content: `${system.content} And say 17.` };
    expect((await ask("the last again", [last, user("Hi.")], { sharedBy: "for many" })).state).toBe("shared");
  });

  it("cost less than to read them", async () => {
    const msOf = async (sharedBy: string | null, name: string) => {
      const times = [];
      for (let i = 0; i < 5; i++) {
        const startMs = performance.now();
        await ask(`${name} ${i}`, [system, user("Hi.")], { sharedBy, options: { maxTokens: 1 } });
        times.push(performance.now() - startMs);
      }
      return times.toSorted((a, b) => a - b)[2] ?? 0;
    };
    await ask("warms up", [system, user("Hi.")], { sharedBy: "timed", options: { maxTokens: 1 } });
    const [cold, shared] = [await msOf(null, "timed cold"), await msOf("timed", "timed shared")];
    expect(shared).toBeLessThan(cold);
  });
});
