// Items that are put into conversations and taken out again, forks at them, and turns of which nothing is kept.
import { abortAllDurableObjects, evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { ItemsRequest, TurnView } from "../../src/conversation/protocol.ts";
import type { ChatMessage } from "../../src/model/chat-template.ts";
import { inStorage, objectOf, refusal } from "./objects.ts";
import { dump } from "./storage.ts";
import { eventsOf, finalView, greedy, say, stubOf, turn } from "./turns.ts";

const ada = { role: "user", content: "My name is Ada." } as const;
const nice = { role: "assistant", content: "Nice to meet you, Ada." } as const;
const fox = { role: "user", content: "Tell me a story about a fox." } as const;
const whoAmI = "What is my name?";
const slow = { temperature: 1, maxTokens: 2_000, logitBias: [1, 5].map((token) => ({ token, bias: -100 })) };

const itemsOf = (...messages: ChatMessage[]): ItemsRequest => {
  return { messages, options: greedy, repeatKey: null, repeatWithinMs: 0, isNamed: false };
};
/** Every text and token that is stored anywhere in an object, as one text to look for words in. */
const rawTexts = (name: string): Promise<string> =>
  inStorage(name, ({ sql }) => {
    const tables = sql.exec<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table'").toArray();
    const rows = tables
      .filter((table) => !table.name.startsWith("_cf"))
      .flatMap((table) => sql.exec(`SELECT * FROM ${table.name}`).toArray());
    const show = (value: unknown) => (value instanceof ArrayBuffer ? new TextDecoder().decode(value) : String(value));
    return rows.flatMap((row) => Object.values(row).map(show)).join("\n");
  });

const said = ({ text, usage, status }: TurnView) => ({ text, promptTokens: usage?.promptTokens, status });

describe("items that were put into a conversation", () => {
  it("are read with the next reply, as if the whole history had been sent at once", async () => {
    const stub = stubOf("seeded");
    await stub.create({}, itemsOf(ada, nice));
    await stub.append(0, itemsOf({ role: "developer", content: "Be brief." }));
    await evictDurableObject(objectOf("seeded"));
    const first = await turn(stubOf("seeded"), say(whoAmI));
    expect(first.text).toContain("Ada");
    expect(first).toMatchObject({ state: "cold", usage: { cachedTokens: 0 } });
    await stubOf("seeded").append(0, itemsOf(fox, nice));
    const second = await turn(stubOf("seeded"), say(whoAmI));
    expect(second.state).toBe("restored");
    expect(second.usage?.cachedTokens).toBe((first.usage?.promptTokens ?? 0) + (first.usage?.completionTokens ?? 0));

    const whole = stubOf("whole");
    await whole.create({});
    const history: ChatMessage[] = [ada, nice, { role: "developer", content: "Be brief." }];
    const asked = [...history, { role: "user" as const, content: whoAmI }];
    expect(said(await turn(whole, say("", { messages: asked })))).toEqual(said(first));
    const again = [...asked, { role: "assistant" as const, content: first.text }, fox, nice];
    const other = stubOf("all at once");
    await other.create({});
    const cold = await turn(other, say("", { messages: [...again, { role: "user", content: whoAmI }] }));
    expect(cold.text).toBe(second.text);
  });

  it("may be all that a reply has to read, and without any there is nothing to reply to", async () => {
    const stub = stubOf("only items");
    await stub.create({});
    expect(await refusal("only items", (object) => object.begin(say("", { messages: [] })))).toBe("invalid_argument");
    await stub.append(0, itemsOf(ada));
    const { head } = await stub.branch(0);
    const after = await turn(stub, say("", { messages: [], place: { kind: "after", turn: head } }));
    const reply = await turn(stub, say("", { messages: [] }));
    expect(reply.text).toContain("Ada");
    expect(after.text).toBe(reply.text);
    expect(await refusal("only items", (object) => object.begin(say("", { messages: [] })))).toBe("invalid_argument");
  });

  it("are not put in the middle of a reply, nor twice by one request", async () => {
    const stub = stubOf("appends");
    await stub.create({});
    const named = { ...itemsOf(ada), repeatKey: "k", repeatWithinMs: 60_000, isNamed: true };
    const first = await stub.append(0, named);
    expect((await stub.append(0, named)).turn).toBe(first.turn);
    const { turn: running } = await stub.begin(say("Tell me a story.", { options: slow }));
    expect(await refusal("appends", (object) => object.append(0, itemsOf(ada)))).toBe("conversation_busy");
    expect((await stub.append(0, named)).turn).toBe(first.turn);
    await stub.cancel(running);
  });

  it("are part of what is computed again when snapshots are lost", async () => {
    const stub = stubOf("loses all");
    await stub.create({}, itemsOf(ada, nice));
    await turn(stub, say("What is 7 plus 5?"));
    await stub.append(0, itemsOf(fox));
    await turn(stub, say("What is 2 plus 2?"));
    const before = await stub.exportState(0);
    await inStorage("loses all", ({ sql }) => sql.exec("DELETE FROM snapshots"));
    expect(await stub.exportState(0)).toEqual(before);
    const again = await turn(stub, say(whoAmI));
    expect(again).toMatchObject({ state: "recomputed" });
    expect(again.text).toContain("Ada");
  });
});

describe("an item that is deleted", () => {
  it("leaves no text, no token and no state that had read it, and the next reply says so", async () => {
    const stub = stubOf("forgets");
    await stub.create({});
    const secret = await turn(stub, say("My name is Zebedee."));
    await turn(stub, say("What is 7 plus 5?"));
    const fork = await stub.fork(0);
    await stub.removeItem(0, secret.turn, 1);
    await stub.removeItem(0, secret.turn, 0);
    const left = await rawTexts("forgets");
    expect(left).not.toContain("Zebedee");
    expect(left).toContain("7 plus 5");
    await inStorage("forgets", ({ sql }) => {
      expect(sql.exec("SELECT turn FROM snapshots").toArray()).toEqual([]);
      expect(sql.exec("SELECT page FROM pages").toArray()).toEqual([]);
      // Tokens are a text too: none of what was read is left, a checksum of nothing at most.
      const read = sql.exec<{ bytes: number }>("SELECT max(length(prompt_tokens)) AS bytes FROM turns").one();
      expect(read.bytes).toBe(4);
    });
    const next = await turn(stub, say(whoAmI));
    expect(next).toMatchObject({ state: "recomputed", status: "completed" });
    expect(next.text).not.toContain("Zebedee");

    const never = stubOf("never knew");
    await never.create({});
    const known = await turn(never, say("What is 7 plus 5?"));
    expect(known.status).toBe("completed");
    const path = await stub.turns(0, { order: "asc", from: undefined, limit: 9 });
    const texts = path.turns.flatMap((each) => [...each.messages, { role: "assistant" as const, content: each.text }]);
    const cold = stubOf("cold");
    await cold.create({});
    expect(said(await turn(cold, say("", { messages: texts.slice(0, -1) })))).toEqual(said(next));
    // What had read it is gone from the fork as well, and what comes after is restored again.
    const forked = await turn(stub, say(whoAmI, { place: { kind: "branch", branch: fork.branch } }));
    expect(forked).toMatchObject({ state: "recomputed", text: next.text });
    expect((await turn(stub, say("Bye."))).state).toBe("restored");
  });

  it("in the middle of a list leaves the others under their ids", async () => {
    const stub = stubOf("middle");
    await stub.create({}, itemsOf(ada, nice, fox));
    await stub.removeItem(0, 1, 2);
    expect(await stub.turnOn(0, 1)).toMatchObject({ removedItems: [2], messages: [ada, { content: "" }, fox] });
    const reply = await turn(stub, say(whoAmI));
    const other = stubOf("without it");
    await other.create({}, itemsOf(ada, fox));
    expect(said(await turn(other, say(whoAmI)))).toEqual(said(reply));
    for (const item of [1, 3]) await stub.removeItem(0, 1, item);
    expect(await refusal("middle", (object) => object.turnOn(0, 1))).toBe("not_found");
    expect((await stub.turns(0, { order: "asc", from: undefined, limit: 9 })).turns).toHaveLength(1);
  });

  it("waits for a reply that goes on from it", async () => {
    const stub = stubOf("in use");
    await stub.create({}, itemsOf(ada));
    const { turn: running } = await stub.begin(say("Tell me a story.", { options: slow }));
    for (const asked of [1, running]) {
      expect(await refusal("in use", (object) => object.removeItem(0, asked, 1))).toBe("conversation_busy");
    }
    await stub.cancel(running);
    await stub.removeItem(0, 1, 1);
  });
});

describe("a fork at an item", () => {
  it("has what was said up to it, and replies anew without computing what was before", async () => {
    const stub = stubOf("forks");
    await stub.create({});
    const first = await turn(stub, say(ada.content));
    const messages = [{ role: "system", content: "Be kind." }, fox, { role: "user", content: whoAmI }] as const;
    const second = await turn(stub, say("", { messages: [...messages] }));
    const forkAt = async (item: number) => (await stub.fork(0, { turn: second.turn, item })).branch;

    const branch = await forkAt(2);
    const regenerated = await turn(stub, say("", { messages: [], place: { kind: "branch", branch } }));
    expect(regenerated).toMatchObject({ text: second.text, state: "restored", usage: second.usage });
    const edited = await forkAt(1);
    const { turns } = await stub.turns(edited, { order: "asc", from: undefined, limit: 9 });
    expect(turns.map((each) => each.messages)).toEqual([first.messages, [messages[0], fox]]);
    expect((await stub.branch(await forkAt(0))).head).toBe(second.turn);
    const unknown = (item: number) => refusal("forks", (object) => object.fork(0, { turn: second.turn, item }));
    expect(await unknown(3)).toBe("not_found");
    await stub.removeItem(0, second.turn, 1);
    expect(await unknown(1)).toBe("not_found");
  });

  it("is one branch when its request comes again", async () => {
    const stub = stubOf("forks once");
    await stub.create({}, itemsOf(ada, fox));
    const point = { turn: 1, item: 1 };
    const repeat = { repeatKey: "key", repeatWithinMs: 60_000 };
    const first = await stub.fork(0, point, repeat);
    expect(await stub.fork(0, point, repeat)).toEqual(first);
    expect((await stub.fork(0, point, { ...repeat, repeatWithinMs: 0 })).branch).not.toBe(first.branch);
  });
});

describe("a turn that is not to be kept", () => {
  const unkept = { place: { kind: "after", turn: null } as const, endsWithClient: true };

  it("replies as any, and then nothing is there", async () => {
    const stub = stubOf("unkept");
    const request = say(ada.content, { ...unkept, options: { store: false, topLogProbabilities: 1 } });
    const events = await eventsOf(await stub.stream(request));
    expect(finalView(events).text).toContain("Ada");
    expect(events.length).toBeGreaterThan(4);
    await expect
      .poll(() => inStorage("unkept", ({ sql }) => sql.exec("SELECT name FROM sqlite_master").toArray().length))
      .toBe(0);
    expect(await refusal("unkept", (object) => object.view(1))).toBe("not_found");
  });

  it("leaves what it went on from as it was", async () => {
    const stub = stubOf("asked aside");
    await stub.create({});
    const first = await turn(stub, say(ada.content));
    const before = await inStorage("asked aside", dump);
    const place = { kind: "after", turn: first.turn } as const;
    const aside = await turn(stub, say(whoAmI, { ...unkept, place, options: { store: false } }));
    expect(aside).toMatchObject({ state: "restored", status: "completed" });
    await expect.poll(() => refusal("asked aside", (object) => object.view(aside.turn))).toBe("not_found");
    const after = await inStorage("asked aside", dump);
    expect(after.replace(/"last_turn","value":\d/, "")).toBe(before.replace(/"last_turn","value":\d/, ""));
  });

  it("is not there any more when its object died under it", async () => {
    const stub = stubOf("died unkept");
    await stub.begin(say("Tell me a story.", { ...unkept, options: { ...slow, store: false } }));
    await abortAllDurableObjects();
    expect(await refusal("died unkept", (object) => object.view(1))).toBe("not_found");
    await expect.poll(() => rawTexts("died unkept")).toBe("");
  });
});
