// What nobody uses any more goes by itself, and really goes.
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { retentionMs } from "../../src/conversation/retention.ts";
import { ageTombstone, inStorage, objectOf, refusal } from "./objects.ts";
import { greedy, say, stubOf, turn } from "./turns.ts";

const dayMs = 24 * 3_600_000;
/** Lets so much time pass for all that is stored. */
const age = (name: string, ms: number) =>
  inStorage(name, ({ sql }) => {
    sql.exec("UPDATE turns SET created_ms = created_ms - ?, finished_ms = finished_ms - ?", ms, ms);
    sql.exec("UPDATE branches SET created_ms = created_ms - ?, active_ms = active_ms - ?", ms, ms);
  });
const tables = (name: string) =>
  inStorage(name, ({ sql }) =>
    sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
  );
const alarmOf = (name: string) => runInDurableObject(objectOf(name), (_, { storage }) => storage.getAlarm());
const after = (turnNumber: number | null) => ({ place: { kind: "after", turn: turnNumber } as const });

describe("a conversation that is not used any more", () => {
  it("goes after 30 days, with every row of it, and not before", async () => {
    const name = "unused";
    await stubOf(name).create({});
    await turn(stubOf(name), say("My name is Ada."));
    await age(name, 29 * dayMs);
    await runDurableObjectAlarm(objectOf(name));
    expect((await stubOf(name).branch(0)).head).not.toBeNull();
    const ringsMs = await alarmOf(name);
    expect(Math.abs((ringsMs ?? 0) - (Date.now() + dayMs))).toBeLessThan(60_000);
    await age(name, 1.1 * dayMs);
    await evictDurableObject(objectOf(name));
    await runDurableObjectAlarm(objectOf(name));
    expect(await refusal(name, (object) => object.branch(0))).toBe("not_found");
    expect(await refusal(name, (object) => object.view(1))).toBe("not_found");
    expect(await tables(name)).toEqual([]);
    // What is left is that something was here; that goes a day later.
    await ageTombstone(name);
    await runDurableObjectAlarm(objectOf(name));
    expect(await alarmOf(name)).toBeNull();
  });

  it("goes sooner where it was asked to, and stays while it is used", async () => {
    const name = "asked for an hour";
    await stubOf(name).create({}, null, 3_600);
    for (const use of [
      () => turn(stubOf(name), say("Hi.")),
      () => stubOf(name).updateBranch(0, { metadata: { a: "b" } }),
      async () => stubOf(name).importState(0, await stubOf(name).exportState(0), greedy),
      () =>
        stubOf(name).append(0, {
          messages: [{ role: "user", content: "Hi." }],
          options: greedy,
          repeatKey: null,
          repeatWithinMs: 0,
          isNamed: false,
        }),
    ]) {
      await use();
      await age(name, 3_000_000);
      await runDurableObjectAlarm(objectOf(name));
      expect(await stubOf(name).branch(0)).toMatchObject({ expiresAfterS: 3_600 });
    }
    await stubOf(name).updateBranch(0, { expiresAfterS: null });
    await age(name, 3_601_000);
    await runDurableObjectAlarm(objectOf(name));
    await stubOf(name).updateBranch(0, { expiresAfterS: 60 });
    expect(Math.abs(((await alarmOf(name)) ?? 0) - Date.now())).toBeLessThan(61_000);
    await age(name, 61_000);
    await runDurableObjectAlarm(objectOf(name));
    expect(await tables(name)).toEqual([]);
  });

  it("leaves its forks, and what went on from it elsewhere", async () => {
    const name = "forked";
    await stubOf(name).create({}, null, 3_600);
    const first = await turn(stubOf(name), say("My name is Ada."));
    const fork = await stubOf(name).fork(0);
    await turn(stubOf(name), say("What is 7 plus 5?"));
    await age(name, 3_601_000);
    await runDurableObjectAlarm(objectOf(name));
    expect(await refusal(name, (object) => object.branch(0))).toBe("not_found");
    const place = { kind: "branch", branch: fork.branch } as const;
    const reply = await turn(stubOf(name), say("What is my name?", { place }));
    expect(reply).toMatchObject({ state: "restored", parent: first.turn, text: "Your name is Ada." });

    const other = "went on";
    await stubOf(other).create({}, null, 3_600);
    const start = await turn(stubOf(other), say("My name is Ada."));
    await age(other, 3_500_000);
    await turn(stubOf(other), say("What is my name?", after(start.turn)));
    await age(other, 200_000);
    await runDurableObjectAlarm(objectOf(other));
    expect((await stubOf(other).branch(0)).head).toBe(start.turn);
    await age(other, 3_500_000);
    await runDurableObjectAlarm(objectOf(other));
    expect(await tables(other)).toEqual([]);
  });
});

describe("responses that nobody goes on from", () => {
  it("go after 30 days, each by itself, but for those that younger ones go on from", async () => {
    const name = "responses";
    const first = await turn(stubOf(name), say("My name is Ada.", after(null)));
    const left = await turn(stubOf(name), say("What is 7 plus 5?", after(first.turn)));
    await age(name, 20 * dayMs);
    const young = await turn(stubOf(name), say("What is my name?", after(first.turn)));
    await age(name, 11 * dayMs);
    await runDurableObjectAlarm(objectOf(name));
    expect(await refusal(name, (object) => object.view(left.turn))).toBe("not_found");
    expect((await stubOf(name).view(young.turn)).text).toBe("Your name is Ada.");
    expect((await turn(stubOf(name), say("Hi.", after(first.turn)))).state).toBe("restored");
    await age(name, 31 * dayMs);
    await runDurableObjectAlarm(objectOf(name));
    expect(await tables(name)).toEqual([]);
  });
});

describe("how long things are kept", () => {
  it("is 30 days, or what the operator says, for ever too", () => {
    expect(retentionMs({})).toBe(30 * dayMs);
    expect(retentionMs({ RETENTION_DAYS: "0.5" })).toBe(dayMs / 2);
    expect(retentionMs({ RETENTION_DAYS: "0" })).toBe(Infinity);
    for (const wrong of ["x", "-1", "1e9"]) {
      expect(() => retentionMs({ RETENTION_DAYS: wrong })).toThrow(expect.objectContaining({ code: "invalid_config" }));
    }
  });
});
