// What deletes a text that objects keep for many chats: it goes there first, or nothing is deleted yet.
import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { Conversation } from "../../src/conversation/conversation.ts";
import type { TurnPlace } from "../../src/conversation/protocol.ts";
import type { ChatMessage } from "../../src/model/chat-template.ts";
import { inStorage, objectOf } from "./objects.ts";
import { greedy, say, stubOf, turn } from "./turns.ts";

const system: ChatMessage = {
  role: "system",
  content: "You are a kind fox who tells stories. Be brief, and never say a word about wolves. ".repeat(12).trimEnd(),
};
const messages: ChatMessage[] = [system, { role: "user", content: "Hi." }];
const anew: TurnPlace = { kind: "after", turn: null };

/** Asks on branch 0 unless told. */
const ask = (name: string, sharedBy: string, place: TurnPlace = { kind: "branch", branch: 0 }) =>
  turn(stubOf(name), say("", { messages, place, options: { sharedBy, maxTokens: 2 } }));

const run = (name: string, sql: string, ...values: number[]) =>
  inStorage(name, (storage) => storage.sql.exec(sql, ...values).toArray());
/** But those of the runtime. */
const tables = (name: string) => run(name, "SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'");
const tenantOf = (name: string) => env.TENANTS.get(env.TENANTS.idFromName(name)) as never;
const shared = (name: string) => run(name, "SELECT json_extract(options, '$.sharedBy') AS name FROM turns");

/** `done`, or the code of what is thrown; `no code` where it is none of our errors. */
const outcome = (name: string, act: (object: Conversation) => unknown): Promise<string> =>
  runInDurableObject(objectOf(name), async (object) => {
    try {
      await act(object as Conversation);
      return "done";
    } catch (error) {
      return (error as { code?: string }).code ?? "no code";
    }
  });

/** Lets an object hear nothing until it is opened, or dies with all that it was asked. */
async function held(object: never): Promise<{ open: () => void; die: () => void }> {
  let fate: "held" | "open" | "dead" = "held";
  let isHeld = false;
  const waits = async () => {
    isHeld = true;
    while (fate === "held") await new Promise((resolve) => void setTimeout(resolve, 5));
    if (fate === "dead") throw new Error("It died.");
  };
  runInDurableObject(object, (_, state) => state.blockConcurrencyWhile(waits)).catch(() => undefined);
  await expect.poll(() => isHeld).toBe(true);
  return { open: () => void (fate = "open"), die: () => void (fate = "dead") };
}

/** Acts while an object dies over what it is asked. */
async function whileDying<R>(name: string, act: () => Promise<R>): Promise<R> {
  const keeper = await held(objectOf(name));
  const acted = act();
  await new Promise((resolve) => void setTimeout(resolve, 50));
  keeper.die();
  return acted;
}

/** Lets all that an object keeps be a year old. */
async function age(name: string): Promise<void> {
  const yearMs = 365 * 24 * 3_600_000;
  await run(name, "UPDATE turns SET created_ms = created_ms - ?", yearMs);
  await run(name, "UPDATE branches SET active_ms = active_ms - ?", yearMs);
}

const ends: [how: string, act: (object: Conversation) => unknown][] = [
  ["a response", (object) => object.remove(1)],
  ["an item", (object) => object.removeItem(0, 1, 1)],
  ["a conversation", (object) => object.removeBranch(0)],
];

describe("deleting what began with shared system texts", () => {
  it.each(ends)("of %s twice at once deletes it, or says that it is not there", async (how, act) => {
    const [name, sharedBy] = [`twice ${how}`, `twice, kept for ${how}`];
    await stubOf(name).create({});
    await ask(name, sharedBy);
    const both = await Promise.all([outcome(name, act), outcome(name, act)]);
    expect(both.toSorted()[0]).toBe("done");
    expect(["done", "not_found"]).toContain(both.toSorted()[1]);
    expect(await tables(sharedBy)).toEqual([]);
  });

  it.each(ends)("of %s works where the options of a turn are damaged", async (how, act) => {
    const [name, sharedBy] = [`damaged ${how}`, `damaged, kept for ${how}`];
    await stubOf(name).create({});
    await ask(name, sharedBy);
    await ask(name, sharedBy, anew);
    await run(name, "UPDATE turns SET options = '{' WHERE turn = 2");
    expect(await outcome(name, act)).toBe("done");
    expect(await tables(sharedBy)).toEqual([]);
  });

  it("works for what nobody uses though all of its options are damaged", async () => {
    await stubOf("damaged, unused").create({});
    await ask("damaged, unused", "damaged, unused, kept");
    await run("damaged, unused", "UPDATE turns SET options = '{'");
    await age("damaged, unused");
    await runDurableObjectAlarm(objectOf("damaged, unused"));
    expect(await tables("damaged, unused")).toEqual([]);
  });

  it.each(ends)(
    "of %s fails, and can be tried again, when the object that keeps them dies over it",
    async (how, act) => {
      const [name, sharedBy] = [`put off ${how}`, `put off, kept for ${how}`];
      await stubOf(name).create({});
      const { text } = await ask(name, sharedBy);
      expect(await whileDying(sharedBy, () => outcome(name, act))).toBe("internal");
      expect(await stubOf(name).view(1)).toMatchObject({ text, messages });
      expect(await outcome(name, act)).toBe("done");
      expect(await tables(sharedBy)).toEqual([]);
    },
  );

  it("is done later for what nobody uses, when the object that keeps them answers again", async () => {
    const [name, sharedBy] = ["unused, put off", "unused, put off, kept"];
    await stubOf(name).create({});
    await ask(name, sharedBy);
    await age(name);
    await whileDying(sharedBy, () => runDurableObjectAlarm(objectOf(name)));
    expect((await stubOf(name).view(1)).messages).toEqual(messages);
    const ringsMs = await inStorage(name, (storage) => storage.getAlarm());
    expect(Math.abs((ringsMs ?? 0) - Date.now())).toBeLessThan(11_000);
    expect(await tables(sharedBy)).not.toEqual([]);
    await runDurableObjectAlarm(objectOf(name));
    expect([await tables(name), await tables(sharedBy)]).toEqual([[], []]);
  });

  it("asks the objects again that a turn asked after they forgot", async () => {
    const name = "meanwhile";
    const short = (sharedBy: string) =>
      turn(stubOf(name), say("Hi.", { place: anew, options: { sharedBy, maxTokens: 2 } }));
    await stubOf(name).create({});
    await ask("somebody else", "kept meanwhile", anew);
    await short("slow");
    const [first, second, tenant] = [
      await held(objectOf("slow")),
      await held(objectOf("slower")),
      await held(tenantOf("slow")),
    ];
    const deletion = outcome(name, (object) => object.removeBranch(0));
    // While `slow` does not answer, one turn begins and ends, and one begins.
    await short("slower");
    const chargedTo = { tenant: "slow", charge: 1, tokens: 0 };
    const begun = await stubOf(name).begin(
      say("", { messages, place: anew, options: { sharedBy: "kept meanwhile", maxTokens: 2, chargedTo } }),
    );
    expect(await tables("kept meanwhile")).not.toEqual([]);
    first.open();
    await expect.poll(() => tables("kept meanwhile")).toEqual([]);
    // While `slower` does not answer, the turn has its texts kept once more, and ends.
    tenant.open();
    await expect.poll(async () => (await stubOf(name).view(begun.turn)).status).toBe("incomplete");
    expect(await tables("kept meanwhile")).not.toEqual([]);
    second.open();
    expect(await deletion).toBe("done");
    expect(await tables("kept meanwhile")).toEqual([]);
  });

  it("asks no object for turns that went on from others: they never asked one", async () => {
    await stubOf("goes on").create({});
    await ask("goes on", "began so");
    await ask("goes on", "went on so");
    expect(await shared("goes on")).toEqual([{ name: "began so" }, { name: null }]);
    expect(await tables("went on so")).toEqual([]);
  });

  it("leaves nothing of what somebody had kept at the moment, and what comes next is kept", async () => {
    const keeper = stubOf("asked by many");
    const keep = (token: number) => keeper.sharedStart("pocket", Array<number>(300).fill(token), greedy);
    const before = keep(100);
    const forgotten = keeper.forgetSharedStarts();
    const [first, , second] = await Promise.all([before, forgotten, keep(101)]);
    expect([first, second]).toMatchObject([
      { position: 300, isNew: true },
      { position: 300, isNew: true },
    ]);
    expect(await run("asked by many", "SELECT count(*) AS starts FROM turns")).toEqual([{ starts: 1 }]);
    expect((await keep(101)).isNew).toBe(false);
    await Promise.all([keep(102), keeper.forgetSharedStarts()]);
    expect(await tables("asked by many")).toEqual([]);
  });
});
