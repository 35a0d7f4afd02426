// Damaged bytes in the database of a chat: found, said, and computed again from the tokens; never used.
import type { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { respond, type Reply } from "./client.ts";
import { openDatabases } from "./database.ts";
import { talk } from "./talk.ts";

/** The database of the only chat of a server. */
async function openDatabase(server: TestServer): Promise<DatabaseSync> {
  const databases = await openDatabases(server);
  expect(databases.length).toBe(1);
  return databases[0]!;
}

/** Flips one bit in the middle of a BLOB of every row that the condition selects; how many there were. */
function flipBits(db: DatabaseSync, table: string, keys: string, column = "bytes", where = "true"): number {
  const rows = db.prepare(`SELECT ${keys}, ${column} AS bytes FROM ${table} WHERE ${where}`).all();
  for (const { bytes, ...key } of rows) {
    const damaged = Uint8Array.from(bytes as Uint8Array);
    const middle = damaged.length >> 1;
    damaged[middle] = damaged[middle]! ^ 1;
    const same = Object.keys(key).map((name) => `${name} = ?`);
    db.prepare(`UPDATE ${table} SET ${column} = ? WHERE ${same.join(" AND ")}`).run(damaged, ...Object.values(key));
  }
  return rows.length;
}

describe("a chat whose database is damaged while the server is down", () => {
  let server: TestServer;
  const replies: Reply[] = [];
  const ask = (before: Reply) => respond(server, { input: "What is my name?", previous_response_id: before.id });
  beforeAll(async () => {
    server = await startServer();
    replies.push(await respond(server, { input: "My name is Ada." }));
    for (let turn = 1; turn < 8; turn++) {
      replies.push(await respond(server, { input: talk(turn), previous_response_id: replies.at(-1)!.id }));
    }
  });
  afterAll(() => server.stop());

  /** Asks once before and once after `harm`, done while the server is down. */
  async function askAround(before: Reply, harm: (db: DatabaseSync) => number): Promise<[Reply, Promise<Reply>]> {
    const expected = await ask(before);
    await server.kill("SIGKILL");
    const db = await openDatabase(server);
    expect(harm(db)).toBeGreaterThan(0);
    db.close();
    await server.restart();
    return [expected, ask(before)];
  }

  async function expectRecomputed([expected, asked]: [Reply, Promise<Reply>]): Promise<void> {
    const reply = await asked;
    expect(expected.state).toBe("restored");
    expect(reply.state).toBe("recomputed");
    expect(reply.text).toBe(expected.text);
    expect(reply.text).toMatch(/Ada/);
    expect(reply.griffin.computed_tokens).toBeGreaterThan(expected.griffin.computed_tokens);
  }

  it("goes on as if nothing had happened, and says it was recomputed, when its pages are damaged", async () => {
    await server.kill("SIGKILL");
    const db = await openDatabase(server);
    const paged = db.prepare("SELECT turn FROM snapshots WHERE length(pages) > 0 ORDER BY turn DESC").get();
    db.close();
    await server.restart();
    const before = replies[Number(paged!["turn"]) - 1]!;
    await expectRecomputed(await askAround(before, (damaged) => flipBits(damaged, "pages", "page")));
  });

  it("does so when the recurrent state of its last turn is damaged, and of every turn", async () => {
    const before = replies.at(-1)!;
    const parts = (db: DatabaseSync, where: string) => flipBits(db, "parts", "turn, kind, part", "bytes", where);
    await expectRecomputed(await askAround(before, (db) => parts(db, "kind = 'snapshot' AND turn = 8")));
    await ask(before);
    // What was recomputed for the turn after it is no snapshot of the turn itself.
    const [, asked] = await askAround(before, (db) => parts(db, "kind = 'snapshot'"));
    expect((await asked).state).toBe("recomputed");
    expect((await asked).text).toMatch(/Ada/);
  });

  it("is read again from its texts where the tokens are damaged as well", async () => {
    const around = await askAround(
      replies.at(-1)!,
      (db) => flipBits(db, "parts", "turn, kind, part") + flipBits(db, "turns", "turn", "prompt_tokens"),
    );
    expect((await around[1]).state).toBe("recomputed");
    expect((await around[1]).text).toMatch(/Ada/);
  });

  it("says so in a plain error where nothing is left to read, and the server goes on", async () => {
    const [, asked] = await askAround(replies.at(-1)!, (db) => {
      const { changes } = db.prepare("UPDATE turns SET messages = x'00', reply = x'00', prompt_tokens = x'00'").run();
      return Number(changes) + flipBits(db, "parts", "turn, kind, part");
    });
    await expect(asked).rejects.toThrow(/^status 500: .*"code":"data_damaged"/);
    expect((await respond(server, { input: "My name is Ben." })).state).toBe("cold");
  });
});
