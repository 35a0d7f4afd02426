// The tree of turns, branches, tokens and logs, in real SQLite; and that a commit is whole or not at all.
import type { DurableObjectStorage, SqlStorageValue } from "@cloudflare/workers-types";
import { describe, expect, it } from "vitest";
import { Database } from "../../src/conversation/database.ts";
import { hasStore, type NewTurn, openStore, type Store } from "../../src/conversation/store.ts";
import {
  addTurn,
  again,
  begin,
  dump,
  identityOf,
  inObject,
  newObject,
  options,
  outcomeOf,
  pocket,
  small,
  stateOf,
  tokens,
  withStore,
} from "./storage.ts";

const identity = identityOf({ ...small, window: 20 });
const line = (count: number) => tokens(count);
/** Of the model whose tokens are logged. */
const mark = 4_000_000_000;

/** A finished turn with a state of a few tokens. */
const finished = (store: Store, parent: number | null, branch: number | null = null) =>
  addTurn(store, identity, { parent, branch, line: line(3) });

describe("a store", () => {
  it("is not there before something is stored, and looking for it writes nothing", async () => {
    await inObject(newObject(), ({ storage }) => {
      expect(hasStore(storage)).toBe(false);
      expect(storage.sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 'turns'").one()["n"]).toBe(0);
      openStore(storage);
      expect(hasStore(storage)).toBe(true);
    });
  });
});

describe("a branch", () => {
  it("is numbered from 0, keeps what it was given, and its number is never used again", async () => {
    await inObject(newObject(), ({ storage }) => {
      const store = openStore(storage);
      const first = store.createBranch({ parentBranch: null, head: null, metadata: { topic: "añil" }, nowMs: 7 });
      const times = { createdMs: 7, activeMs: 7, expiresAfterS: null };
      expect(first).toEqual({ branch: 0, parentBranch: null, head: null, metadata: { topic: "añil" }, ...times });
      expect(store.branch(0)).toEqual(first);
      const turn = finished(store, null, 0);
      const fork = store.createBranch({ parentBranch: 0, head: turn, metadata: {}, nowMs: 8 });
      expect(store.branch(1)).toEqual(fork);
      expect(store.branchCount()).toBe(2);
      store.removeBranch(1);
      expect(store.branch(1)).toBeNull();
      expect(store.createBranch({ parentBranch: 0, head: turn, metadata: {}, nowMs: 9 }).branch).toBe(2);
    });
  });

  it("takes new metadata, and an unknown one is not found", async () => {
    await withStore((store) => {
      store.updateBranch(0, { metadata: { a: "1" } }, 9);
      expect(store.branch(0)).toMatchObject({ metadata: { a: "1" }, activeMs: 9, expiresAfterS: null });
      store.updateBranch(0, { expiresAfterS: 60 }, 10);
      expect(store.branch(0)).toMatchObject({ metadata: { a: "1" }, expiresAfterS: 60 });
      expect(() => store.updateBranch(5, {}, 9)).toThrow(expect.objectContaining({ code: "not_found" }));
      expect(store.branch(5)).toBeNull();
    });
  });

  it("moves its head with each commit, but not with a turn beside it or one that failed", async () => {
    await withStore((store) => {
      const first = finished(store, null, 0);
      expect(store.branch(0)?.head).toBe(first);
      finished(store, first);
      const failed = begin(store, first, 0);
      store.fail(failed, { code: "internal", message: "No." }, 30);
      expect(store.branch(0)?.head).toBe(first);
      const second = finished(store, first, 0);
      expect(store.branch(0)?.head).toBe(second);
    });
  });
});

describe("a turn", () => {
  it("comes back as it was begun, and as it ended", async () => {
    await withStore((store) => {
      const request: Omit<NewTurn, "nowMs"> = {
        parent: null,
        branch: 0,
        messages: [
          { role: "system", content: "Be brief." },
          { role: "user", content: "\u{1f98a} “quoted”\n\0 \ud800" },
        ],
        options: { ...options, stop: ["\n"], logitBias: [{ token: 3, bias: -1.5 }], seed: "18446744073709551615" },
        metadata: { k: "v" },
        repeatKey: "key",
        endsWithClient: true,
      };
      const turn = store.insertTurn({ ...request, nowMs: 10 });
      const begun = {
        ...request,
        kind: "reply",
        removedItems: [],
        turn,
        status: "in_progress",
        createdMs: 10,
        finishedMs: null,
        attempts: 0,
        text: "",
        finishReason: null,
        state: null,
        placement: null,
        usage: null,
        storage: null,
        error: null,
        endPosition: null,
        checkpoint: null,
        removed: false,
      };
      expect(store.turn(turn)).toEqual(begun);
      expect(store.promptTokens(turn)).toEqual([]);
      expect(store.beginAttempt(turn)).toBe(1);
      expect(store.beginAttempt(turn)).toBe(2);

      const outcome = outcomeOf({ status: "incomplete", finishReason: "length", text: "Größe", state: "cold" });
      const storage = store.commit(turn, outcome, { state: stateOf(identity, line(30)), identity, base: null });
      const { status, text, finishReason, state, placement, usage } = outcome;
      expect(store.turn(turn)).toEqual({
        ...begun,
        status,
        text,
        finishReason,
        state,
        placement,
        usage,
        storage,
        attempts: 2,
        finishedMs: 20,
        endPosition: 30,
        checkpoint: identity.checkpoint,
      });
      expect(store.promptTokens(turn)).toEqual([5, 6]);
      expect(store.replyTokens(turn)).toEqual([7]);
    });
  });

  it("keeps texts and tokens of any length, in rows of at most 1 MiB", async () => {
    await withStore((store, storage) => {
      const content = "långt ".repeat(400_000);
      const manyTokens = tokens(600_000, 2 ** 31 - 1);
      const messages = [{ role: "user" as const, content }];
      const turn = store.insertTurn({ ...store.turn(begin(store, null, null))!, messages, branch: 0, nowMs: 1 });
      const outcome = outcomeOf({ text: content, promptTokens: manyTokens, replyTokens: manyTokens });
      store.commit(turn, outcome, null);
      expect(store.turn(turn)).toMatchObject({ messages, text: content });
      expect(store.promptTokens(turn)).toEqual(manyTokens);
      expect(store.replyTokens(turn)).toEqual(manyTokens);
      const { largest } = storage.sql.exec("SELECT max(length(bytes)) AS largest FROM parts").one();
      expect(largest).toBe(2 ** 20);
      // Another branch keeps the object alive; nothing of this one stays.
      store.createBranch({ parentBranch: null, head: null, metadata: {}, nowMs: 1 });
      store.removeBranch(0);
      expect(storage.sql.exec("SELECT count(*) AS n FROM parts").one()["n"]).toBe(0);
    });
  });

  it("is found by its key, its branch and its parent", async () => {
    await withStore((store) => {
      const first = finished(store, null, 0);
      const other = finished(store, null);
      const running = begin(store, first, 0, "again");
      const beside = begin(store, first, null);
      expect(store.turnOfRepeatKey("again")).toBe(running);
      expect(store.turnOfRepeatKey("never")).toBeNull();
      expect(store.runningTurn(0)).toBe(running);
      expect(store.runningTurn(1)).toBeNull();
      expect(store.unfinishedTurns()).toEqual([running, beside]);
      expect(store.children(null).map(({ turn }) => turn)).toEqual([first, other]);
      expect(store.children(first).map(({ turn }) => turn)).toEqual([running, beside]);
      expect(store.path(running).map(({ turn }) => turn)).toEqual([first, running]);
      store.commit(running, outcomeOf(), null);
      store.fail(beside, { code: "internal", message: "No." }, 30);
      expect(store.runningTurn(0)).toBeNull();
      expect(store.unfinishedTurns()).toEqual([]);
      expect(store.turn(99)).toBeNull();
    });
  });

  it("that failed says why, keeps no log, and cannot end again", async () => {
    await withStore((store, storage) => {
      const turn = begin(store, null, 0);
      store.appendLog(turn, mark, [1, 2]);
      const error = { code: "model_not_found" as const, message: "No such model." };
      store.fail(turn, error, 30);
      expect(store.turn(turn)).toMatchObject({ status: "failed", error, finishedMs: 30, endPosition: null });
      expect(storage.sql.exec("SELECT count(*) AS n FROM log").one()["n"]).toBe(0);
      const ended = expect.objectContaining({ code: "not_found", message: expect.stringMatching(/Turn 1 is not in/) });
      expect(() => store.commit(turn, outcomeOf(), null)).toThrow(ended);
      expect(() => store.fail(turn, error, 31)).toThrow(ended);
      expect(() => store.beginAttempt(turn)).toThrow(ended);
      expect(() => store.appendLog(turn, mark, [3])).toThrow(ended);
    });
  });

  it("has a number of its own for ever", async () => {
    await withStore((store) => {
      const [first, second] = [begin(store, null, null), begin(store, null, null)];
      store.removeTurn(second);
      store.removeTurn(first);
      expect([first, second, begin(store, null, null)]).toEqual([1, 2, 3]);
    });
  });
});

describe("the log of a running turn", () => {
  it("is one row a call, in order, and gone with the commit", async () => {
    await withStore((store, storage) => {
      const turn = begin(store, null, 0);
      const other = begin(store, null, null);
      for (let i = 0; i < 12; i++) store.appendLog(turn, mark, [10 * i, 10 * i + 1]);
      store.appendLog(other, mark, [4_294_967_295]);
      expect(store.openLog(turn, mark).tokens).toEqual(tokens(12).flatMap((i) => [10 * i, 10 * i + 1]));
      expect(storage.sql.exec("SELECT count(*) AS n FROM log").one()["n"]).toBe(13);
      store.commit(turn, outcomeOf(), null);
      expect(store.openLog(turn, mark).tokens).toEqual([]);
      expect(store.openLog(other, mark).tokens).toEqual([4_294_967_295]);
    });
  });

  it("ends before a damaged or missing part, and goes on from there", async () => {
    await withStore((store, storage) => {
      for (const damage of ["DELETE FROM log WHERE part = 1", "UPDATE log SET tokens = zeroblob(8) WHERE part = 1"]) {
        const turn = begin(store, null, null);
        for (const part of [[1], [2], [3]]) store.appendLog(turn, mark, part);
        storage.sql.exec(damage);
        expect(store.openLog(turn, mark).tokens).toEqual([1]);
        for (const part of [[2, 3], [4]]) store.appendLog(turn, mark, part);
        expect(store.openLog(turn, mark).tokens).toEqual([1, 2, 3, 4]);
      }
    });
  });

  it("holds what was told of its tokens, and ends before a part of which that is missing or damaged", async () => {
    await withStore((store, storage) => {
      const reports = [1, 2].map((token) => ({
        logProbability: -0.1 / token,
        top: [{ token, logProbability: -1 / 3 }],
      }));
      for (const damage of ["NULL", "'[{'", "'[]'"]) {
        const turn = begin(store, null, null);
        store.appendLog(turn, mark, [1, 2], reports);
        store.appendLog(turn, mark, [3, 4], reports);
        const logged = { tokens: [1, 2, 3, 4], logProbabilities: [...reports, ...reports] };
        expect(store.openLog(turn, mark, true)).toEqual(logged);
        storage.sql.exec(`UPDATE log SET log_probabilities = ${damage} WHERE part = 1 AND turn = ${turn}`);
        expect(store.openLog(turn, mark, true)).toEqual({ tokens: [1, 2], logProbabilities: reports });
      }
    });
  });

  it("of another model's tokens begins anew", async () => {
    await withStore((store) => {
      const turn = begin(store, null, null);
      store.appendLog(turn, 7, [1, 2]);
      expect(store.openLog(turn, mark).tokens).toEqual([]);
      store.appendLog(turn, mark, [3]);
      expect(store.openLog(turn, mark).tokens).toEqual([3]);
    });
  });
});

describe("damaged texts and tokens", () => {
  it.each(["prompt_tokens", "reply_tokens", "messages", "reply"] as const)(
    "are named, not used: %s",
    async (column) => {
      await withStore((store, storage) => {
        const turn = finished(store, null, 0);
        storage.sql.exec(`UPDATE turns SET ${column} = CAST(x'ff' || substr(${column}, 2) AS BLOB)`);
        const read = () =>
          ({
            messages: () => store.turn(turn),
            reply: () => store.turn(turn),
            prompt_tokens: () => store.promptTokens(turn),
            reply_tokens: () => store.replyTokens(turn),
          })[column]();
        const message = expect.stringContaining(`The stored ${column} of turn 1 is damaged`);
        expect(read).toThrow(expect.objectContaining({ code: "data_damaged", message }));
        store.removeTurn(turn);
        expect(store.turn(turn)).toBeNull();
      });
    },
  );
});

describe("removing", () => {
  it("a turn that nothing goes on from deletes it, with its state, pages and log", async () => {
    await withStore((store, storage) => {
      const empty = dump(storage).replace(/"last_turn","value":\d+/, "");
      const turn = addTurn(store, identity, { parent: null, line: line(200) });
      const running = begin(store, turn, null, "key");
      store.appendLog(running, mark, [1]);
      store.removeTurn(running);
      store.removeTurn(turn);
      expect(dump(storage).replace(/"last_turn","value":\d+/, "")).toBe(empty);
      store.removeTurn(turn);
    });
  });

  it("a turn that others go on from deletes its texts, key and state, and the rest when those have gone", async () => {
    await withStore((store, storage) => {
      const first = begin(store, null, null, "key");
      const outcome = outcomeOf({ text: "secret ".repeat(20_000) });
      store.commit(first, outcome, { state: stateOf(identity, line(9)), identity, base: null });
      const second = finished(store, first);
      const third = finished(store, second);
      store.removeTurn(second);
      store.removeTurn(first);
      for (const turn of [first, second]) {
        expect(store.turn(turn)).toBeNull();
        expect(store.loadSnapshot(turn, identity)).toEqual({ missing: "dropped" });
      }
      expect(store.children(null)).toEqual([]);
      expect(store.turnOfRepeatKey("key")).toBeNull();
      expect(dump(storage)).not.toContain("115 101 99 114 101 116"); // "secret"
      expect(store.path(third).map(({ removed, messages, text }) => [removed, messages.length, text])).toEqual([
        [true, 0, ""],
        [true, 0, ""],
        [false, 1, "Hello."],
      ]);
      expect(store.promptTokens(first)).toEqual([5, 6]);
      store.removeTurn(third);
      expect(store.counts()).toEqual({ turns: 0, snapshots: 0, pages: 0, pageReferences: 0 });
    });
  });

  it("a turn keeps nothing of it for turns that failed, or were cancelled before they had a state", async () => {
    await withStore((store) => {
      const first = finished(store, null);
      const second = finished(store, first);
      const failed = begin(store, second, null);
      store.fail(failed, { code: "cancelled", message: "" }, 30);
      store.removeTurn(first);
      expect(store.promptTokens(first)).toEqual([5, 6]);
      store.removeTurn(second);
      expect([store.step(first), store.step(second)]).toEqual([null, null]);
      expect(store.turn(failed)?.status).toBe("cancelled");
      store.removeTurn(failed);
      expect(store.counts().turns).toBe(0);
    });
  });

  it("thousands of turns in a row takes no longer for each than a few", async () => {
    await withStore((store) => {
      const chain = (count: number) => {
        let turn: number | null = null;
        const turns = [];
        for (let i = 0; i < count; i++) {
          turn = begin(store, turn, null);
          store.commit(turn, outcomeOf(), null);
          turns.push(turn);
        }
        return turns;
      };
      const removed = chain(2_000);
      for (const turn of removed.slice(0, -1)) store.removeTurn(turn);
      const old = chain(2_000);
      let statements = 0;
      const { read } = Database.prototype;
      Database.prototype.read = function (...args) {
        statements++;
        return read.apply(this, args) as never;
      };
      try {
        store.removeTurn(removed.at(-1)!);
        expect(store.counts().turns).toBe(old.length);
        store.removeOldTurns(Date.now(), 1_000);
        expect(store.counts().turns).toBe(0);
      } finally {
        Database.prototype.read = read;
      }
      expect(statements).toBeLessThan(30);
    });
  });

  it("old turns leaves those that run, and all that younger ones go on from", async () => {
    await withStore((store) => {
      const [root, besideRoot] = [finished(store, null), finished(store, null)];
      const [inner, leaf] = [finished(store, root), finished(store, root)];
      const running = begin(store, inner, null);
      store.removeOldTurns(1_000, 100);
      for (const turn of [root, inner, running]) expect(store.turn(turn)?.turn).toBe(turn);
      for (const turn of [besideRoot, leaf]) expect(store.turn(turn)).toBeNull();
      store.commit(running, outcomeOf(), { state: stateOf(identity, line(4)), identity, base: inner });
      const [younger, youngest] = [finished(store, root), finished(store, null)];
      store.removeOldTurns(0, 2);
      for (const turn of [root, younger, youngest]) expect(store.turn(turn)?.turn).toBe(turn);
      expect(store.counts().turns).toBe(3);
    });
  });

  it("the head of a branch lets the branch end with the turn before that is kept, or with none", async () => {
    await withStore((store) => {
      const first = finished(store, null, 0);
      const third = finished(store, finished(store, first, 0), 0);
      const between = store.step(third)!.parent!;
      store.removeTurn(between);
      expect(store.branch(0)?.head).toBe(third);
      store.removeTurn(third);
      expect(store.branch(0)?.head).toBe(first);
      store.removeTurn(first);
      expect(store.branch(0)?.head).toBeNull();
      expect(store.counts()).toEqual({ turns: 0, snapshots: 0, pages: 0, pageReferences: 0 });
    });
  });

  it("a branch deletes what no other branch's path needs", async () => {
    await withStore((store, storage) => {
      const shared = finished(store, null, 0);
      const besideShared = finished(store, shared);
      const fork = store.createBranch({ parentBranch: 0, head: shared, metadata: {}, nowMs: 1 }).branch;
      const failedBeside = begin(store, shared, 0);
      store.fail(failedBeside, { code: "internal", message: "No." }, 30);
      const own = finished(store, shared, 0);
      const besideOwn = finished(store, own);
      const failed = begin(store, own, 0);
      store.fail(failed, { code: "internal", message: "No." }, 30);
      const running = begin(store, own, 0);
      store.appendLog(running, mark, [1]);
      const forked = finished(store, shared, fork);
      const runningFork = begin(store, forked, fork);

      store.removeBranch(0);
      for (const turn of [failedBeside, own, besideOwn, failed, running]) expect(store.turn(turn)).toBeNull();
      for (const turn of [shared, besideShared, forked, runningFork]) expect(store.turn(turn)?.turn).toBe(turn);
      expect(store.loadSnapshot(own, identity)).toEqual({ missing: "never" });
      expect(store.loadSnapshot(shared, identity).state?.position).toBe(3);
      expect(storage.sql.exec("SELECT count(*) AS n FROM log").one()["n"]).toBe(0);
      expect(store.counts()).toMatchObject({ turns: 4, snapshots: 3 });
      expect(() => store.commit(running, outcomeOf(), null)).toThrow(expect.objectContaining({ code: "not_found" }));
      store.commit(runningFork, outcomeOf(), { state: stateOf(identity, line(4)), identity, base: forked });
      expect(store.branch(fork)?.head).toBe(runningFork);
    });
  });
});

/** The same storage, telling of every statement, before it runs. */
function watched(storage: DurableObjectStorage, before: (query: string) => void): DurableObjectStorage {
  const exec = (query: string, ...values: SqlStorageValue[]) => {
    before(query);
    return storage.sql.exec(query, ...values);
  };
  const transactionSync = <T>(run: () => T) => storage.transactionSync(run);
  return { sql: { exec }, transactionSync } as unknown as DurableObjectStorage;
}

describe("a commit", () => {
  /** A branch with a committed turn, and one in progress with a log. */
  const prepare = (store: Store) => {
    store.createBranch({ parentBranch: null, head: null, metadata: {}, nowMs: 1 });
    const first = addTurn(store, identity, { parent: null, branch: 0, line: line(60) });
    for (let i = 0; i < 31; i++) finished(store, null);
    const turn = begin(store, first, 0);
    store.appendLog(turn, mark, [1, 2, 3]);
    const outcome = outcomeOf({ text: "long ".repeat(20_000) });
    return { turn, outcome, snapshot: { state: stateOf(identity, line(200)), identity, base: first } };
  };

  it("counts the rows and bytes that the database says it wrote, and keeps the counts", async () => {
    await withStore((store, storage) => {
      const layout = identityOf(pocket);
      const first = addTurn(store, layout, { parent: null, branch: 0, line: line(100) });
      const turn = begin(store, first, 0);
      for (const token of line(5)) store.appendLog(turn, mark, [token]);
      const cursors: { rowsWritten: number }[] = [];
      let bytes = 0;
      const exec = (query: string, ...values: (SqlStorageValue | Uint8Array)[]) => {
        const cursor = storage.sql.exec(query, ...values);
        cursors.push(cursor);
        if (/^\s*(INSERT|UPDATE|DELETE)/.test(query)) {
          for (const value of values) {
            if (typeof value === "number") bytes += 8;
            else if (value !== null) bytes += Buffer.from(value as string).byteLength;
          }
        }
        return cursor;
      };
      const transactionSync = <T>(run: () => T) => storage.transactionSync(run);
      const counted = openStore({ sql: { exec }, transactionSync } as unknown as DurableObjectStorage);
      const state = stateOf(layout, line(130));
      const cost = counted.commit(turn, outcomeOf(), { state, identity: layout, base: first });
      // A full page, the body, the snapshot, the head, five parts of the log, the turn.
      expect(cost.rowsWritten).toBe(1 + 1 + 1 + 1 + 5 + 1);
      expect(cost.rowsWritten).toBe(cursors.reduce((sum, { rowsWritten }) => sum + rowsWritten, 0));
      expect(cost.bytesWritten).toBe(bytes);
      expect(cost.stateBytes).toBe(45_056);
      expect(store.turn(turn)?.storage).toEqual(cost);
      // Recurrent part, tail of 2, the page, and little else.
      expect(cost.bytesWritten - (12_288 + 2 * 1024 + 64 * 1024)).toBeLessThan(700);
    });
  });

  it("that fails at any statement leaves everything as it was", async () => {
    const count = await inObject(newObject(), ({ storage }) => {
      let statements = 0;
      const { turn, outcome, snapshot } = prepare(openStore(storage));
      openStore(watched(storage, () => statements++)).commit(turn, outcome, snapshot);
      expect(openStore(storage).branch(0)?.head).toBe(turn);
      return statements;
    });
    expect(count).toBeGreaterThan(11);
    await inObject(newObject(), ({ storage }) => {
      const { turn, outcome, snapshot } = prepare(openStore(storage));
      const before = dump(storage);
      for (let failing = 3; failing < count; failing++) {
        let statements = 0;
        const store = openStore(
          watched(storage, () => {
            if (statements++ === failing) throw new Error(`at statement ${failing}`);
          }),
        );
        expect(() => store.commit(turn, outcome, snapshot)).toThrow(`at statement ${failing}`);
        expect(dump(storage) === before).toBe(true);
      }
    });
  });

  it("whose object dies in the middle leaves everything as it was, and can be done again", async () => {
    for (const dying of ["INSERT INTO pages", "INSERT INTO snapshots", "UPDATE branches", "UPDATE turns"]) {
      const stub = newObject();
      const { before, ...prepared } = await inObject(stub, ({ storage }) => {
        const done = prepare(openStore(storage));
        return { ...done, before: dump(storage) };
      });
      const { turn, outcome, snapshot } = prepared;
      const dies = inObject(stub, (state) => {
        const storage = watched(state.storage, (query) => {
          if (query.trim().startsWith(dying)) state.abort(`died at ${dying}`);
        });
        openStore(storage).commit(turn, outcome, snapshot);
      });
      await expect(dies).rejects.toThrow(`died at ${dying}`);
      await inObject(again(stub), ({ storage }) => {
        expect(dump(storage) === before).toBe(true);
        const store = openStore(storage);
        expect(store.unfinishedTurns()).toEqual([turn]);
        expect(store.openLog(turn, mark).tokens).toEqual([1, 2, 3]);
        store.commit(turn, outcome, snapshot);
        expect(store.branch(0)?.head).toBe(turn);
      });
    }
  });
});

describe("a row", () => {
  it("that the hosted service would refuse is refused here, by name", async () => {
    await inObject(newObject(), ({ storage }) => {
      storage.sql.exec("CREATE TABLE blobs (bytes BLOB)");
      const write = (bytes: number) =>
        new Database(storage).write("page 7", "INSERT INTO blobs VALUES (?)", new Uint8Array(bytes));
      write(2 ** 20);
      const message = expect.stringContaining("The row of page 7 has 1200000 bytes");
      expect(() => write(1_200_000)).toThrow(expect.objectContaining({ code: "internal", message }));
    });
  });
});
