// States in rows and back, in real SQLite.
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import fc from "fast-check";
import { evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { pagingOf } from "../../src/conversation/pages.ts";
import { snapshotLimit } from "../../src/conversation/snapshots.ts";
import { openStore, type ModelIdentity, type Store } from "../../src/conversation/store.ts";
import {
  addTurn,
  begin,
  identityOf,
  inObject,
  layoutOf,
  newObject,
  outcomeOf,
  pageBooks,
  pocket,
  type Sizes,
  small,
  stateOf,
  tokens,
  twoB,
  withStore,
} from "./storage.ts";

function expectState(store: Store, turn: number, identity: ModelIdentity, line: readonly number[]) {
  const loaded = store.loadSnapshot(turn, identity);
  const expected = stateOf(identity, line);
  expect(loaded.missing).toBeUndefined();
  expect(loaded.state?.position).toBe(expected.position);
  expect(Buffer.from(loaded.state!.data).equals(Buffer.from(expected.data))).toBe(true);
}

const largestRow = ({ sql }: DurableObjectStorage) =>
  sql
    .exec<{ bytes: number }>(
      "SELECT max(b) AS bytes FROM (SELECT max(length(bytes)) AS b FROM pages UNION SELECT max(length(bytes)) FROM parts)",
    )
    .one().bytes;

describe("a snapshot", () => {
  const shapes: [string, Partial<Sizes>][] = [
    ["a window of 100, pages of 64", {}],
    ["a window of one page", { window: 64 }],
    ["a window smaller than a page", { window: 5 }],
    ["a window of 1", { window: 1 }],
    ["a window of 33, keys and values in bf16", { window: 33, kv: "bf16" }],
    ["no attention", { blockTypes: ["recurrent", "recurrent"] }],
    ["no recurrent block", { blockTypes: ["attention"] }],
    ["small pages, because rows are wide", { blockTypes: ["attention"], numKvHeads: 8, headDim: 2048, window: 21 }],
  ];
  it.each(shapes)("comes back bit for bit at every position: %s", async (_, overrides) => {
    const identity = identityOf({ ...small, ...overrides });
    const lengths =
      identity.layout.totalBytes > 2 ** 20 ? [7, 8, 30] : [0, 1, 4, 5, 63, 64, 65, 99, 100, 101, 192, 300];
    await withStore((store, storage) => {
      // Each from nothing, and each from the one before.
      for (const line of lengths.map((length) => tokens(length))) {
        expectState(store, addTurn(store, identity, { parent: null, line }), identity, line);
      }
      let parent: number | null = null;
      for (const line of lengths.map((length) => tokens(length))) {
        parent = addTurn(store, identity, { parent, line });
        expectState(store, parent, identity, line);
      }
      expect(largestRow(storage) ?? 0).toBeLessThanOrEqual(2 ** 20);
    });
  });

  it("is there after its object was evicted", async () => {
    const stub = newObject();
    const identity = identityOf(small);
    const turn = await inObject(stub, ({ storage }) =>
      addTurn(openStore(storage), identity, { parent: null, line: tokens(150) }),
    );
    await evictDurableObject(stub);
    await inObject(stub, ({ storage }) => expectState(openStore(storage), turn, identity, tokens(150)));
  });

  it("of RecurrentGemma-2B takes rows of at most 1 MiB, and a turn writes only what changed", async () => {
    const identity = identityOf(twoB);
    const state = stateOf(identity, tokens(5000));
    const next = stateOf(identity, tokens(5100));
    expect(state.data.byteLength).toBe(17_514_496);
    await withStore((store, storage) => {
      const first = begin(store, null, 0);
      const cold = store.commit(first, outcomeOf(), { state, identity, base: null });
      expect(store.counts()).toMatchObject({ pages: 32, pageReferences: 32 });
      expect(largestRow(storage)).toBe(737_280 + 8 * 8192);
      const second = begin(store, first, 0);
      const cost = store.commit(second, outcomeOf(), { state: next, identity, base: first });
      // 5000 = 78 · 64 + 8, 5100 = 79 · 64 + 44: one more full page, a tail of 44, which with the recurrent part is 2 parts.
      expect(store.counts()).toMatchObject({ pages: 33, pageReferences: 64 });
      expect(cold.rowsWritten).toBe(32 + 1 + 3);
      expect(cost.rowsWritten).toBe(1 + 2 + 3);
      expect(cost.bytesWritten).toBeLessThan(737_280 + (64 + 44) * 8192 + 1000);
      expectState(store, first, identity, tokens(5000));
      expectState(store, second, identity, tokens(5100));
    });
  });

  it("shares full pages with its branches", async () => {
    const identity = identityOf(small);
    await withStore((store) => {
      const first = addTurn(store, identity, { parent: null, branch: 0, line: tokens(200) });
      const before = store.counts();
      expect(before).toMatchObject({ snapshots: 1, pages: 2, pageReferences: 2 });
      const lines = [1000, 2000, 3000].map((start) => [...tokens(200), ...tokens(20, start)]);
      const turns = lines.map((line) => addTurn(store, identity, { parent: first, line }));
      expect(store.counts()).toMatchObject({ snapshots: 4, pages: 2, pageReferences: 8 });
      turns.forEach((turn, i) => expectState(store, turn, identity, lines[i]!));
    });
  });

  it("holds no position that has left the window, but in a page that others are in", async () => {
    const identity = identityOf(pocket);
    await withStore((store, storage) => {
      const kept = () =>
        ["parts", "pages"].map(
          (table) => storage.sql.exec(`SELECT coalesce(sum(length(bytes)), 0) AS n FROM ${table}`).one()["n"],
        );
      const first = addTurn(store, identity, { parent: null, branch: 0, line: tokens(63) });
      expect(kept()).toEqual([12_288 + 32 * 1024, 0]);
      addTurn(store, identity, { parent: first, line: tokens(65) });
      expect(kept()).toEqual([12_288 + 32 * 1024 + 12_288 + 1024, 64 * 1024]);
    });
  });

  it("shares nothing with a base that is further on, whose pages may lack what it needs", async () => {
    const identity = identityOf(small);
    await withStore((store) => {
      const base = addTurn(store, identity, { parent: null, line: tokens(400) });
      const turn = begin(store, null, 0);
      store.commit(turn, outcomeOf(), { state: stateOf(identity, tokens(330)), identity, base });
      expectState(store, turn, identity, tokens(330));
    });
  });

  it("shares nothing with another model's, nor without a base", async () => {
    const identity = identityOf(small);
    await withStore((store) => {
      const first = addTurn(store, identity, { parent: null, line: tokens(200) });
      const other = { ...identity, checkpoint: "d".repeat(64) };
      addTurn(store, other, { parent: first, line: tokens(210) });
      expect(store.counts()).toMatchObject({ pages: 4, pageReferences: 4 });
      const second = begin(store, first, null);
      store.commit(second, outcomeOf(), { state: stateOf(identity, tokens(210)), identity, base: null });
      expect(store.counts()).toMatchObject({ pages: 6, pageReferences: 6 });
    });
  });

  it("is given only to the model that made it", async () => {
    const identity = identityOf(small);
    await withStore((store) => {
      const turn = addTurn(store, identity, { parent: null, line: tokens(9) });
      const others = [
        { ...identity, checkpoint: "d".repeat(64) },
        { ...identity, graph: "8".repeat(64) },
        { ...identity, layout: layoutOf({ ...small, window: 101 }) },
      ];
      for (const other of others) expect(store.loadSnapshot(turn, other)).toEqual({ missing: "other_model" });
      expectState(store, turn, identity, tokens(9));
    });
  });

  it("never was where a turn failed, runs, has no state, or does not exist", async () => {
    const identity = identityOf(small);
    await withStore((store) => {
      const failed = begin(store, null, null);
      store.fail(failed, { code: "internal", message: "No." }, 30);
      const stateless = begin(store, null, null);
      store.commit(stateless, outcomeOf(), null);
      for (const turn of [failed, stateless, begin(store, null, null), 99]) {
        expect(store.loadSnapshot(turn, identity)).toEqual({ missing: "never" });
      }
    });
  });

  it("refuses a state of another size, and leaves the turn running", async () => {
    await withStore((store) => {
      const turn = begin(store, null, 0);
      const snapshot = { state: stateOf(identityOf(small), tokens(3)), identity: identityOf(pocket), base: null };
      expect(() => store.commit(turn, outcomeOf(), snapshot)).toThrow(/belongs to another model/);
      expect(store.runningTurn(0)).toBe(turn);
    });
  });
});

describe("pages", () => {
  it("are the largest power of two up to 64 positions that fits 1 MiB", () => {
    expect(pagingOf(layoutOf(twoB))).toMatchObject({ pageTokens: 64, positionBytes: 8192 });
    expect(pagingOf(layoutOf({ ...twoB, kv: "f32" }))).toMatchObject({ pageTokens: 64, positionBytes: 16_384 });
    expect(pagingOf(layoutOf({ ...twoB, kv: "f32", numKvHeads: 2 }))).toMatchObject({ pageTokens: 32 });
    expect(pagingOf(layoutOf(pocket))).toMatchObject({ pageTokens: 64, positionBytes: 1024, window: 32 });
    const wide = layoutOf({ ...twoB, numKvHeads: 1024, window: 2 });
    expect(() => pagingOf(wide)).toThrow(/8388608 bytes; it is stored in one row of at most 1048576/);
  });
});

describe("a damaged row", () => {
  const identity = identityOf({ ...small, window: 130 });
  const line = tokens(200);
  const flip = (column: string) => `${column} = CAST(x'ff' || substr(${column}, 2) AS BLOB)`;
  const damages: [name: string, turn: number, sql: string][] = [
    ["a page's first byte", 2, `UPDATE pages SET ${flip("bytes")}`],
    ["a page's last byte", 2, "UPDATE pages SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) || x'ff' AS BLOB)"],
    ["a page cut short", 2, "UPDATE pages SET bytes = substr(bytes, 2)"],
    ["a page too long", 2, "UPDATE pages SET bytes = CAST(bytes || x'00' AS BLOB)"],
    [
      "a page with another's bytes",
      1,
      "UPDATE pages SET bytes = (SELECT bytes FROM pages WHERE page = 2) WHERE page = 1",
    ],
    ["a page gone", 1, "DELETE FROM pages WHERE page = 2"],
    ["a body's first byte", 2, `UPDATE parts SET ${flip("bytes")}`],
    ["a body cut short", 2, "UPDATE parts SET bytes = substr(bytes, 1, length(bytes) - 1)"],
    ["a body gone", 2, "DELETE FROM parts"],
    ["a body of another turn", 2, "DELETE FROM parts WHERE turn = 2; UPDATE parts SET turn = 2"],
    ["a row of another turn", 1, "DELETE FROM snapshots WHERE turn = 1; UPDATE snapshots SET turn = 1"],
    ["the references", 2, `UPDATE snapshots SET ${flip("pages")}`],
    ["no references", 2, "UPDATE snapshots SET pages = x''"],
    ["the position", 2, "UPDATE snapshots SET position = position + 64"],
    ["the checkpoint's hash", 2, "UPDATE snapshots SET checkpoint = 'c'"],
    ["the graph's hash", 2, "UPDATE snapshots SET graph = '9'"],
    ["the layout's size", 2, "UPDATE snapshots SET layout_bytes = layout_bytes + 1"],
    ["the body's checksum", 2, "UPDATE snapshots SET body_checksum = body_checksum + 1"],
    ["the row's checksum", 2, "UPDATE snapshots SET checksum = checksum + 1"],
  ];
  it.each(damages)("is noticed, and the snapshot forgotten: %s", async (_, turn, sql) => {
    await withStore((store, storage) => {
      addTurn(store, identity, { parent: null, branch: 0, line: tokens(200, 7) });
      addTurn(store, identity, { parent: null, line });
      storage.sql.exec(sql);
      expect(store.loadSnapshot(turn, identity)).toEqual({ missing: "corrupt" });
      expect(store.loadSnapshot(turn, identity)).toEqual({ missing: "dropped" });
      const { stored, referred } = pageBooks(storage);
      expect(stored.filter((page) => !referred.includes(page))).toEqual([]);
      // The conversation goes on, from a state that was computed again.
      const next = begin(store, turn, 0);
      store.commit(next, outcomeOf(), { state: stateOf(identity, line), identity, base: turn });
      expectState(store, next, identity, line);
    });
  });

  it("takes with it every snapshot that shares the page", async () => {
    await withStore((store, storage) => {
      const first = addTurn(store, identity, { parent: null, line });
      const second = addTurn(store, identity, { parent: first, line: [...line, 1] });
      const apart = addTurn(store, identity, { parent: null, line: tokens(200, 50) });
      storage.sql.exec("UPDATE pages SET bytes = zeroblob(length(bytes)) WHERE page = 1");
      expect(store.loadSnapshot(first, identity)).toEqual({ missing: "corrupt" });
      expect(store.loadSnapshot(second, identity)).toEqual({ missing: "dropped" });
      expectState(store, apart, identity, tokens(200, 50));
    });
  });
});

describe("old snapshots", () => {
  const identity = identityOf({ ...small, window: 3 });

  it("are dropped beyond the limit, those longest unused first; heads and the newest stay", async () => {
    await withStore((store) => {
      const head = addTurn(store, identity, { parent: null, branch: 0, line: tokens(2) });
      const used = addTurn(store, identity, { parent: null, line: tokens(3) });
      const unused = addTurn(store, identity, { parent: null, line: tokens(4) });
      const others = tokens(snapshotLimit - 3).map(() => addTurn(store, identity, { parent: null, line: tokens(5) }));
      const child = addTurn(store, identity, { parent: used, line: tokens(6) });
      expect(store.counts().snapshots).toBe(snapshotLimit + 1);
      expectState(store, unused, identity, tokens(4));

      const newest = addTurn(store, identity, { parent: null, line: tokens(70) });
      expect(store.counts().snapshots).toBe(snapshotLimit + 1);
      expect(store.loadSnapshot(unused, identity)).toEqual({ missing: "dropped" });
      expectState(store, head, identity, tokens(2));
      expectState(store, used, identity, tokens(3));
      expectState(store, others[0]!, identity, tokens(5));
      expectState(store, child, identity, tokens(6));
      expectState(store, newest, identity, tokens(70));
      expect(store.promptTokens(unused)).toEqual([5, 6]);
    });
  });

  it("do not include that of a turn that ran longer than all others", async () => {
    await withStore((store) => {
      const slow = begin(store, null, null);
      for (const count of tokens(snapshotLimit)) addTurn(store, identity, { parent: null, line: tokens(count) });
      store.commit(slow, outcomeOf(), { state: stateOf(identity, tokens(9)), identity, base: null });
      expect(store.counts().snapshots).toBe(snapshotLimit);
      expectState(store, slow, identity, tokens(9));
    });
  });

  it("stay beyond the limit while branches have them as heads", async () => {
    await withStore((store) => {
      const heads = tokens(snapshotLimit + 3).map((i) => {
        const { branch } = store.createBranch({ parentBranch: 0, head: null, metadata: {}, nowMs: 1 });
        return addTurn(store, identity, { parent: null, branch, line: tokens(i) });
      });
      expect(store.counts().snapshots).toBe(snapshotLimit + 3);
      heads.forEach((turn, i) => expectState(store, turn, identity, tokens(i)));
    });
  });
});

describe("any sequence of commits, forks, regenerations, removals and damage", () => {
  const sizes = fc.record({
    blockTypes: fc.array(fc.constantFrom("recurrent" as const, "attention" as const), { minLength: 1, maxLength: 3 }),
    lruWidth: fc.integer({ min: 1, max: 3 }),
    numKvHeads: fc.integer({ min: 1, max: 2 }),
    headDim: fc.constantFrom(1, 2),
    window: fc.integer({ min: 1, max: 200 }),
    kv: fc.constantFrom("f32" as const, "bf16" as const),
  });
  const pick = fc.nat();
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ do: fc.constant("go on" as const), at: pick, count: fc.integer({ min: 1, max: 150 }) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("branch off" as const),
        at: pick,
        count: fc.integer({ min: 1, max: 70 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("fork" as const), at: pick, count: pick }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("remove branch" as const), at: pick, count: pick }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("remove turn" as const), at: pick, count: pick }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("damage" as const), at: pick, count: pick }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("restore" as const), at: pick, count: pick }) },
  );

  it("leaves every snapshot as saved or says it is gone, no page too many and none too few", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.array(step, { minLength: 10, maxLength: 120, size: "max" }), async (size, steps) => {
        await withStore((store, storage) => {
          const identity = identityOf(size);
          /** Turn → the line of its state: the plain model of all this. */
          const lines = new Map<number, number[]>();
          let tokenNow = 0;
          let isDamaged = false;
          const add = (parent: number | null, branch: number | null, count: number) => {
            const loaded = parent === null ? undefined : store.loadSnapshot(parent, identity);
            const line = [...(parent === null ? [] : lines.get(parent)!), ...tokens(count, (tokenNow += 1000))];
            const turn = begin(store, parent, branch);
            const base = loaded?.state === undefined ? null : parent;
            store.commit(turn, outcomeOf(), { state: stateOf(identity, line), identity, base });
            lines.set(turn, line);
          };
          const check = (turn: number) => {
            const { state, missing } = store.loadSnapshot(turn, identity);
            if (state === undefined) return expect(missing).toMatch(isDamaged ? /^(dropped|corrupt)$/ : /^dropped$/);
            expect(Buffer.from(state.data).equals(Buffer.from(stateOf(identity, lines.get(turn)!).data))).toBe(true);
            expect(state.position).toBe(lines.get(turn)!.length);
          };
          const ids = (query: string) =>
            storage.sql
              .exec<{ id: number }>(query)
              .toArray()
              .map(({ id }) => id);
          const chosen = (from: number[], at: number) => from[at % from.length]!;

          for (const { do: action, at, count } of steps) {
            const all = ids("SELECT turn AS id FROM turns ORDER BY turn");
            const branches = ids("SELECT branch AS id FROM branches ORDER BY branch");
            const branch = chosen(branches, at);
            if (action === "go on") add(store.branch(branch)!.head, branch, count);
            else if (action === "branch off") add(all.length === 0 ? null : chosen([...all], at), null, count);
            else if (action === "fork") {
              const head = all.length === 0 ? null : chosen(all, count);
              store.createBranch({ parentBranch: branch, head, metadata: {}, nowMs: 1 });
            } else if (action === "remove branch" && branches.length > 1) store.removeBranch(branch);
            else if (action === "remove turn" && all.length > 0) store.removeTurn(chosen(all, at));
            else if (action === "restore" && all.length > 0) check(chosen(all, at));
            else if (action === "damage") {
              isDamaged = true;
              const damage =
                count % 2 === 0
                  ? "UPDATE pages SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) || x'5c' AS BLOB) WHERE page % 3 = ?"
                  : "UPDATE parts SET bytes = CAST(x'5c' || substr(bytes, 2) AS BLOB) WHERE kind = 'snapshot' AND turn % 5 = ?";
              storage.sql.exec(damage, at % (count % 2 === 0 ? 3 : 5));
            }
            const { stored, referred } = pageBooks(storage);
            expect(stored).toEqual(referred);
          }
          const kept = ids("SELECT turn AS id FROM turns ORDER BY turn");
          for (const turn of kept) check(turn);
          expect(pageBooks(storage).stored).toEqual(pageBooks(storage).referred);
          const parents = ids("SELECT parent AS id FROM turns WHERE parent IS NOT NULL");
          const heads = ids("SELECT head AS id FROM branches WHERE head IS NOT NULL");
          expect([...parents, ...heads].filter((turn) => !kept.includes(turn))).toEqual([]);
          // Nothing of a turn that is gone is left.
          const owners = ids(
            "SELECT turn AS id FROM parts UNION SELECT turn FROM snapshots UNION SELECT turn FROM log",
          );
          expect(owners.filter((turn) => !kept.includes(turn))).toEqual([]);
        });
      }),
      { seed: 20_261_123, numRuns: 25 },
    );
  });
});
