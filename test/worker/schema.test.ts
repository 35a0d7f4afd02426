// Databases of other versions: older ones are brought up to date without loss, newer ones are refused.
import { describe, expect, it } from "vitest";
import { version1 } from "./schema-version-1.ts";
import { schemaSteps, schemaVersion, upgradeSchema } from "../../src/conversation/schema.ts";
import { openStore } from "../../src/conversation/store.ts";
import {
  addTurn,
  begin,
  dump,
  identityOf,
  inObject,
  newObject,
  options,
  outcomeOf,
  small,
  stateOf,
  tokens,
} from "./storage.ts";

describe("the schema", () => {
  it("is written once, in a version that is the number of its steps", async () => {
    await inObject(newObject(), ({ storage }) => {
      expect(schemaVersion(storage)).toBe(0);
      upgradeSchema(storage);
      expect(schemaVersion(storage)).toBe(schemaSteps.length);
      const before = dump(storage);
      upgradeSchema(storage);
      expect(dump(storage)).toBe(before);
    });
  });

  it("of a database that version 1 wrote is brought up to date, and nothing is lost", async () => {
    await inObject(newObject(), ({ storage }) => {
      for (const statement of version1) storage.sql.exec(statement);
      expect(schemaVersion(storage)).toBe(1);
      const store = openStore(storage);
      expect(schemaVersion(storage)).toBe(schemaSteps.length);
      const branch = store.branch(0);
      expect(branch).toMatchObject({ branch: 0, parentBranch: null, head: 1, metadata: { a: "b" }, createdMs: 1 });
      // It counts as used when it was brought up to date: nothing is known of before.
      expect(Date.now() - (branch?.activeMs ?? 0)).toBeLessThan(60_000);
      expect(store.turn(1)).toMatchObject({ text: "Hello.", options, status: "completed", endPosition: 70 });
      expect(store.promptTokens(1)).toEqual([5, 6]);
      expect(store.replyTokens(1)).toEqual([7]);
      expect(store.openLog(2, 1).tokens).toEqual([2, 3]);
      expect(store.unfinishedTurns()).toEqual([2]);
      const identity = identityOf({
        ...small,
        blockTypes: ["recurrent", "attention"],
        numKvHeads: 1,
        headDim: 1,
        window: 8,
      });
      expect(store.loadSnapshot(1, identity).state).toEqual(stateOf(identity, tokens(70)));
      const snapshot = { state: stateOf(identity, tokens(80)), identity, base: 1 };
      store.commit(2, outcomeOf(), snapshot);
      expect(store.branch(0)?.head).toBe(2);
    });
  });

  it("is the same, brought up to date or new", async () => {
    const tables = (steps: readonly string[]) =>
      inObject(newObject(), ({ storage }) => {
        for (const statement of steps) storage.sql.exec(statement);
        upgradeSchema(storage);
        const query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name";
        return storage.sql
          .exec<{ sql: string }>(query)
          .toArray()
          .map(({ sql }) => sql.replaceAll(/\s+/g, " "));
      });
    expect(await tables(version1)).toEqual(await tables([]));
  });

  it("keeps what is stored through further steps, each run once", async () => {
    const next = [
      ...schemaSteps,
      ["ALTER TABLE turns ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'", "UPDATE turns SET mood = 'gay'"],
    ];
    await inObject(newObject(), ({ storage }) => {
      const store = openStore(storage);
      const identity = identityOf(small);
      const turn = addTurn(store, identity, { parent: null, line: tokens(130) });
      const row = store.turn(turn);
      upgradeSchema(storage, next);
      upgradeSchema(storage, next);
      expect(schemaVersion(storage)).toBe(schemaSteps.length + 1);
      expect(storage.sql.exec("SELECT mood FROM turns").toArray()).toEqual([{ mood: "gay" }]);
      expect(store.turn(turn)).toEqual(row);
      expect(store.loadSnapshot(turn, identity).state).toEqual(stateOf(identity, tokens(130)));
    });
  });

  it("stays at its version when a step fails", async () => {
    const broken = [...schemaSteps, ["DELETE FROM turns"], ["ALTER TABLE nowhere ADD COLUMN x"]];
    await inObject(newObject(), ({ storage }) => {
      const store = openStore(storage);
      begin(store, null, null);
      const before = dump(storage);
      expect(() => upgradeSchema(storage, broken)).toThrow(/nowhere/);
      expect(dump(storage)).toBe(before);
    });
  });

  it("of newer code is refused, and left alone", async () => {
    await inObject(newObject(), ({ storage }) => {
      openStore(storage);
      storage.sql.exec("UPDATE meta SET value = 99 WHERE key = 'schema_version'");
      const before = dump(storage);
      const known = `knows versions up to ${schemaSteps.length}: newer code`;
      const message = expect.stringContaining(`schema version 99, but this code ${known}`);
      expect(() => openStore(storage)).toThrow(expect.objectContaining({ code: "unsupported", message }));
      expect(dump(storage)).toBe(before);
    });
  });
});
