// Batches in real workerd: their objects, their queue, and the files they write.
import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { Batch } from "../../src/batch/batch.ts";
import { FileWriter, partBytes } from "../../src/batch/file-writer.ts";
import { leaseMs } from "../../src/batch/leases.ts";
import { mostStrikes, strikeWaitsMs } from "../../src/batch/protocol.ts";
import {
  batchOf,
  begin,
  bucket,
  change,
  inBatch,
  lineOf,
  linesIn,
  registryOf,
  report,
  result,
  upload,
  wake,
} from "./batches.ts";

const until = async (name: string, status: string, timeout = 30_000) =>
  await expect.poll(async () => (await batchOf(name).view()).status, { timeout }).toBe(status);
const ring = (name: string) => runDurableObjectAlarm(batchOf(name) as never);
const evict = (name: string) => evictDurableObject(batchOf(name) as never);
const requests = (count: number) => Array.from({ length: count }, (_, i) => lineOf(`r${i}`));

/** A batch that the test runs by hand, with its lines planned. */
async function byHand(what: string, lines: readonly string[]) {
  const begun = await begin(`by hand/${what}`, lines);
  await until(begun.name, "in_progress");
  return begun;
}

describe("a batch", () => {
  it("has one result for every line, malformed and refused ones in the error file", async () => {
    const lines = requests(40);
    lines[3] = "not json";
    lines[9] = lineOf("r8");
    lines[20] = lineOf("r20", { max_tokens: -1 });
    lines[21] = lineOf("r21", { model: "nope" });
    const { stub, view } = await begin("mixed", lines);
    expect(view).toMatchObject({ status: "validating", counts: { total: 0 }, outputFile: null, errorFile: null });
    await until("mixed", "completed");
    const { counts, outputFile, errorFile, times } = await stub.view();
    expect(counts).toEqual({ total: 40, completed: 36, failed: 4 });
    const output = await linesIn("registry of mixed", outputFile);
    expect(new Set(output.map(({ custom_id: id }) => id)).size).toBe(36);
    expect(output[0]).toEqual({
      id: expect.stringMatching(/^batch_req_[a-z2-7]{32}_\d+$/),
      custom_id: expect.any(String),
      response: { status_code: 200, request_id: expect.stringMatching(/^req_/), body: expect.any(Object) },
      error: null,
    });
    const errors = await linesIn("registry of mixed", errorFile);
    const told = errors.map(({ custom_id: id, response, error }) => [id, response?.["status_code"], error?.["code"]]);
    expect(told.toSorted()).toEqual(
      [
        [null, undefined, "invalid_json_line"],
        ["r8", undefined, "duplicate_custom_id"],
        ["r20", 400, undefined],
        ["r21", 404, undefined],
      ].toSorted(),
    );
    expect(Object.keys(times)).toEqual(["validating", "in_progress", "finalizing", "completed"]);
    // Nothing of what was said is left in the object.
    const left = await inBatch("mixed", ({ sql }) => sql.exec("SELECT count(*) AS n FROM results").one()["n"]);
    expect(left).toBe(0);
  });

  it("can be read where the address of the origin is none, and gives no lines to run", async () => {
    const { name } = await byHand("bad origin", requests(2));
    await runInDurableObject(batchOf(name) as never, async (_, state) => {
      const batch = new Batch(state as never, { ...env, ORIGIN_URL: "none" } as never);
      // It reads what is stored first.
      await expect.poll(() => batch.view()).toMatchObject({ status: "in_progress", counts: { total: 2 } });
      expect(() => batch.take(0)).toThrow(/ORIGIN_URL must be/);
    });
  });

  it("writes two rows for eight lines", async () => {
    const { name, stub } = await byHand("rows", requests(80));
    const rows = () =>
      runInDurableObject(batchOf(name) as never, (_, { storage }) =>
        Number(
          storage.sql.exec("SELECT (SELECT count(*) FROM results) + (SELECT count(*) FROM strikes) AS n").one()["n"],
        ),
      );
    for (let stretch = 0; stretch < 9; stretch++) {
      const { lines } = (await stub.take(stretch))!;
      expect(lines).toHaveLength(8);
      await stub.report(stretch, report({ results: lines.map((line) => result(line)) }));
    }
    expect(await rows()).toBe(18);
    expect((await stub.view()).counts).toEqual({ total: 80, completed: 72, failed: 0 });
  });

  it("keeps the first result of a line, whoever brings it and whatever dies in between", async () => {
    const { name, stub } = await byHand("once", requests(8));
    expect(await stub.take(0)).toMatchObject({ lines: [0, 1, 2, 3, 4, 5, 6, 7], oneByOne: false });
    expect(await stub.take(0)).toBeNull();
    await stub.report(0, report({ results: [result(0), result(5)], isLast: false }));
    await evict(name);
    // Whoever comes now gets what is left; the one before speaks all the same.
    expect(await stub.take(0)).toMatchObject({ lines: [1, 2, 3, 4, 6, 7] });
    await stub.report(0, report({ results: [result(5, "errors"), result(1)], isLast: false }));
    await stub.report(0, report({ results: [1, 2, 3, 4, 6, 7].map((line) => result(line)) }));
    await until(name, "completed");
    const { counts, outputFile, errorFile } = await stub.view();
    expect(counts).toEqual({ total: 8, completed: 8, failed: 0 });
    expect(errorFile).toBeNull();
    const lines = await linesIn(`registry of ${name}`, outputFile);
    expect(lines.map(({ line }) => line).toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(await stub.report(0, report({ results: [result(0)] }))).toBe(false);
  });

  it("keeps results that are larger than a row", async () => {
    const { name, stub } = await byHand("large", requests(3));
    await stub.take(0);
    const large = `${JSON.stringify({ line: 0, text: "é".repeat(2_000_000) })}\n`;
    await stub.report(0, report({ results: [result(0, "output", large), result(1)] }));
    await evict(name);
    expect((await stub.view()).counts).toEqual({ total: 3, completed: 2, failed: 0 });
    await stub.report(0, report({ results: [result(2)] }));
    await until(name, "completed");
    const lines = await linesIn(`registry of ${name}`, (await stub.view()).outputFile);
    expect(lines.map(({ line }) => line)).toEqual([0, 1, 2]);
    expect(lines[0]!["text"]).toBe("é".repeat(2_000_000));
  });

  it("gives up the line that brings its runs down, and no other", async () => {
    const { name, stub } = await byHand("poison", requests(8));
    const poison = 2;
    let runs = 0;
    for (let round = 0; round < 20 && (await stub.view()).status === "in_progress"; round++) {
      const work = await stub.take(0);
      if (work === null) break;
      await stub.report(0, report({ results: work.givenUp.map((line) => result(line, "errors")), isLast: false }));
      for (const line of work.lines) {
        if (line === poison) {
          runs++;
          break;
        }
        if (work.oneByOne) await stub.report(0, report({ results: [result(line)], isLast: false }));
      }
      if (!work.lines.includes(poison))
        await stub.report(0, report({ results: work.lines.map((line) => result(line)) }));
      await evict(name);
    }
    await until(name, "completed");
    expect((await stub.view()).counts).toEqual({ total: 8, completed: 7, failed: 1 });
    expect(runs).toBeGreaterThanOrEqual(mostStrikes);
    expect(runs).toBeLessThanOrEqual(mostStrikes + 2);
  });

  it("blames nobody for a pause, though lines before were given up", async () => {
    const { name, stub } = await byHand("held up", requests(3));
    const strikes = () =>
      inBatch(name, ({ sql }) => sql.exec("SELECT line, count FROM strikes WHERE count > 0").toArray());
    await inBatch(name, ({ sql }) => sql.exec("INSERT INTO strikes VALUES (0, ?, 0)", mostStrikes));
    await evict(name);
    expect(await stub.take(0)).toMatchObject({ lines: [1, 2], givenUp: [0] });
    await stub.report(0, report({ pauseMs: 1 }));
    expect(await strikes()).toEqual([{ line: 0, count: mostStrikes }]);
  });

  it("tries a line again that failed in passing, later and later, and the others meanwhile", async () => {
    const { name, stub } = await byHand("passing", requests(10));
    const alarmMs = () => runInDurableObject(stub as never, (_, { storage }) => storage.getAlarm());
    await stub.take(0);
    const done = [0, 2, 3, 4, 5, 6, 7].map((line) => result(line));
    await stub.report(0, report({ results: done, failed: [result(1, "errors")] }));
    for (const [attempt, waitMs] of strikeWaitsMs.entries()) {
      const [{ again_ms: againMs = 0 } = {}] = await inBatch(name, ({ sql }) =>
        sql.exec<{ again_ms: number }>("SELECT again_ms FROM strikes WHERE line = 1").toArray(),
      );
      expect(againMs - Date.now()).toBeGreaterThan(waitMs - 5_000);
      expect(againMs - Date.now()).toBeLessThanOrEqual(waitMs);
      // Also an object that wakes knows of it.
      await evict(name);
      expect(await stub.take(0)).toBeNull();
      if (attempt === 0) {
        expect(await stub.take(1)).toMatchObject({ lines: [8, 9] });
        await stub.report(1, report({ results: [result(8), result(9)] }));
        expect(await alarmMs()).toBeLessThanOrEqual(againMs);
      }
      await wake(name);
      expect(await stub.take(0)).toMatchObject({ lines: [1], givenUp: [] });
      await stub.report(0, report({ failed: [result(1, "errors")] }));
    }
    await until(name, "completed");
    expect((await stub.view()).counts).toEqual({ total: 10, completed: 9, failed: 1 });
  });

  it("waits while a limit is reached, and blames no line for it", async () => {
    const { name, stub } = await byHand("limited", requests(2));
    for (let attempt = 0; attempt < 6; attempt++) {
      await evict(name);
      expect(await stub.take(0)).toMatchObject({ lines: [0, 1], oneByOne: false });
      expect(await stub.report(0, report({ pauseMs: 60_000 }))).toBe(false);
      expect(await stub.take(0)).toBeNull();
    }
  });

  it("is cancelled when the lines that run have ended, and keeps what they were answered", async () => {
    const { name, stub } = await byHand("cancelled", requests(24));
    await stub.take(0);
    expect((await stub.cancel()).status).toBe("cancelling");
    expect(await stub.take(1)).toBeNull();
    await ring(name);
    expect((await stub.cancel()).status).toBe("cancelling");
    expect(await stub.report(0, report({ results: [result(0)], isLast: false }))).toBe(false);
    expect(await stub.report(0, report({ results: [result(1)] }))).toBe(false);
    await until(name, "cancelled");
    const { counts, outputFile, errorFile } = await stub.view();
    expect(counts).toEqual({ total: 24, completed: 2, failed: 0 });
    expect(await linesIn(`registry of ${name}`, outputFile)).toHaveLength(2);
    expect(errorFile).toBeNull();
    expect((await stub.cancel()).status).toBe("cancelled");
  });

  it("expires after a day: what was not run is told in the error file", async () => {
    const { name, stub, view } = await byHand("expired", [...requests(10), "not json"]);
    expect(view.expiresMs - view.createdMs).toBe(86_400_000);
    await stub.take(0);
    await stub.report(0, report({ results: [result(0), result(3)] }));
    await change(name, { expiresMs: Date.now() - 1 });
    await ring(name);
    await until(name, "expired");
    const { counts, outputFile, errorFile } = await stub.view();
    expect(counts).toEqual({ total: 11, completed: 2, failed: 9 });
    expect(await linesIn(`registry of ${name}`, outputFile)).toHaveLength(2);
    const errors = await linesIn(`registry of ${name}`, errorFile);
    const codes = errors.map(({ custom_id: id, error }) => [id, error?.["code"]]);
    const expected = [1, 2, 4, 5, 6, 7, 8, 9].map((i) => [`r${i}`, "batch_expired"]);
    expect(codes).toEqual([[null, "invalid_json_line"], ...expected]);
  });

  it("sends again what the queue has given up, soon", async () => {
    const { name, stub } = await byHand("dead", requests(3));
    await stub.lost(0);
    const alarmMs = await runInDurableObject(stub as never, (_, { storage }) => storage.getAlarm());
    expect(alarmMs).toBeLessThanOrEqual(Date.now() + 5_000);
    expect(await stub.take(0)).toMatchObject({ lines: [0, 1, 2], givenUp: [] });
    await stub.lost(0);
    expect(await stub.take(0)).toBeNull();
    await stub.report(0, report({ results: [0, 1, 2].map((line) => result(line)) }));
    await until(name, "completed");
  });

  it("keeps no result that comes while its files are written: its line is told there already", async () => {
    const { name, stub } = await byHand("too late", requests(2));
    await stub.take(0);
    await stub.report(0, report({ results: [result(0)] }));
    await change(name, { status: "finalizing", endsAs: "expired" });
    const isTaken = await runInDurableObject(stub as never, async (object) => {
      const batch = object as Batch;
      const written = batch.alarm();
      const answer = batch.report(0, report({ results: [result(1)], isLast: false }));
      await written;
      return answer;
    });
    expect(isTaken).toBe(false);
    await until(name, "expired");
    const { counts, outputFile, errorFile } = await stub.view();
    expect(counts).toEqual({ total: 2, completed: 1, failed: 1 });
    const files = [
      ...(await linesIn(`registry of ${name}`, outputFile)),
      ...(await linesIn(`registry of ${name}`, errorFile)),
    ];
    expect(files).toHaveLength(2);
  });

  it("that is over waits longer and longer where it cannot tell so", async () => {
    const { name, stub } = await byHand("untold", requests(1));
    await runInDurableObject(stub as never, (object) => {
      const inside = object as unknown as { env: typeof env };
      inside.env = {
        ...env,
        BATCH_REGISTRIES: { ...env.BATCH_REGISTRIES, idFromName: () => "nobody" as never } as never,
      };
    });
    await change(name, { status: "completed", isReleased: false, attempts: 0 });
    const waits: number[] = [];
    for (let attempt = 0; attempt < 4; attempt++) {
      const ringsMs = await runInDurableObject(stub as never, async (object, { storage }) => {
        await (object as Batch).alarm();
        return storage.getAlarm();
      });
      waits.push(Math.round(((ringsMs ?? Infinity) - Date.now()) / 1000));
    }
    expect(waits).toEqual([4, 8, 16, 32]);
  });

  it.each([
    ["no lines", " \n", "empty_file"],
    ["too many lines", "{}\n".repeat(50_001), "too_many_tasks"],
  ])("of a file with %s fails as a whole", async (what, text, code) => {
    const { name, stub } = await begin(what, [text]);
    await until(name, "failed");
    const { faults, outputFile, errorFile, counts } = await stub.view();
    expect(faults).toMatchObject([{ code, line: null }]);
    expect([outputFile, errorFile, counts.total]).toEqual([null, null, 0]);
  });

  it("of lines that are all malformed has an error file alone", async () => {
    const { name, stub } = await begin("all bad", ["{}", "[]"]);
    await until(name, "completed");
    const { counts, outputFile, errorFile } = await stub.view();
    expect(counts).toEqual({ total: 2, completed: 0, failed: 2 });
    expect(outputFile).toBeNull();
    expect(await linesIn(`registry of ${name}`, errorFile)).toHaveLength(2);
  });

  it("is not there where its file is not, and begins once however often it is asked to", async () => {
    const nowhere = batchOf("nowhere");
    const { id: inputFile } = await upload("registry of nobody", "x");
    const request = {
      id: "batch_x",
      name: "nowhere",
      registry: "registry of somebody",
      tenant: "",
      key: null,
      inputFile,
      outputFile: "file-a",
      errorFile: "file-b",
      folder: "x/",
      endpoint: "/v1/completions" as const,
      metadata: {},
      outputExpiresAfterS: null,
      notify: { registry: "webhooks/", url: null },
    };
    const refused = await runInDurableObject(nowhere as never, async (object) => {
      const batch = object as Batch;
      return [
        await batch.create(request).catch((error: { code: string }) => error.code),
        await batch.create(request).catch((error: { code: string }) => error.code),
      ];
    });
    expect(refused).toEqual(["not_found", "not_found"]);
    const { view, stub } = await begin("twice", requests(1));
    expect(await stub.create({ ...request, name: "twice" })).toMatchObject({ id: view.id });
  });

  it("writes its files again where that broke off", async () => {
    const { name, stub } = await byHand("torn", [...requests(2), "{}"]);
    await stub.take(0);
    let puts = 0;
    await runInDurableObject(batchOf(name) as never, (object) => {
      const inside = object as unknown as { env: typeof env };
      const put = async (key: string, bytes: Uint8Array) => {
        if (++puts === 2) throw new Error("R2 is away");
        return bucket.put(key, bytes);
      };
      inside.env = {
        ...env,
        FILES: {
          get: (...asked) => bucket.get(...asked),
          delete: (keys) => bucket.delete(keys),
          createMultipartUpload: (key) => bucket.createMultipartUpload(key),
          put,
        },
      };
    });
    await stub.report(0, report({ results: [result(0), result(1)] }));
    await until(name, "completed");
    expect(puts).toBe(4);
    const { outputFile, errorFile } = await stub.view();
    expect(await linesIn(`registry of ${name}`, outputFile)).toHaveLength(2);
    expect(await linesIn(`registry of ${name}`, errorFile)).toHaveLength(1);
  });

  it("goes when it was kept long enough, from the list too", async () => {
    const { name, stub, view } = await begin("old", requests(1));
    await until(name, "completed");
    const registry = registryOf(`registry of ${name}`);
    await expect
      .poll(async () => inBatch(name, ({ kv }) => kv.get<{ isReleased: boolean }>("batch")!.isReleased))
      .toBe(true);
    expect((await registry.batches({ after: null, limit: 10 })).ids).toEqual([view.id]);
    await change(name, { times: { completed: Date.now() - 31 * 86_400_000 } });
    await ring(name);
    expect((await registry.batches({ after: null, limit: 10 })).ids).toEqual([]);
    const gone = await runInDurableObject(stub as never, (object) => {
      try {
        return (object as Batch).view().id;
      } catch (error) {
        return (error as { code: string }).code;
      }
    });
    expect(gone).toBe("not_found");
  });

  it("notices who died by silence", () => {
    expect(leaseMs).toBeLessThanOrEqual(60_000);
  });
});

describe("files", () => {
  const codeOf = (answer: Promise<unknown>) =>
    answer.then(
      () => null,
      (error: { code: string }) => error.code,
    );
  const idsIn = async (registry: string) =>
    (await registryOf(registry).files({ after: null, limit: 100, order: "asc" }, null)).files.map(({ id }) => id);

  it("longer than a part are written in parts, byte for byte", async () => {
    for (const length of [0, 1, partBytes - 1, partBytes, partBytes + 1, 2 * partBytes + 12_345]) {
      const bytes = new Uint8Array(length).map((_, i) => (i * 7 + (i >> 8)) & 255);
      const writer = new FileWriter(bucket, "parts");
      for (let from = 0; from < length; from += 777_777) await writer.write(bytes.subarray(from, from + 777_777));
      await writer.end();
      expect(writer.bytes).toBe(length);
      const there = new Uint8Array(await (await bucket.get("parts"))!.arrayBuffer());
      expect(there.byteLength).toBe(length);
      expect(there.every((byte, i) => byte === bytes[i])).toBe(true);
    }
  });

  it("really go when they are deleted, and when their time is over", async () => {
    const kept = await upload("r", "a");
    const deleted = await upload("r", "b");
    const expiring = await upload("r", "c", 3_600_000);
    expect(expiring.expiresMs! - expiring.createdMs).toBe(3_600_000);
    await registryOf("r").removeFile(deleted.id);
    expect(await bucket.get(deleted.key)).toBeNull();
    expect(await codeOf(registryOf("r").file(deleted.id))).toBe("not_found");
    expect(await codeOf(registryOf("r").removeFile(deleted.id))).toBe("not_found");
    await runInDurableObject(registryOf("r") as never, (_, { storage }) => {
      storage.sql.exec("UPDATE files SET expires_ms = ? WHERE id = ?", Date.now(), expiring.id);
    });
    await runDurableObjectAlarm(registryOf("r") as never);
    expect(await bucket.get(expiring.key)).toBeNull();
    expect(await idsIn("r")).toEqual([kept.id]);
    expect(await bucket.get(kept.key)).not.toBeNull();
  });

  it("that a batch reads stay until it is over", async () => {
    const { name, view, stub } = await byHand("reading", requests(1));
    const registry = registryOf(`registry of ${name}`);
    expect(await codeOf(registry.removeFile(view.inputFile))).toBe("invalid_argument");
    await runInDurableObject(registry as never, (_, { storage }) => {
      storage.sql.exec("UPDATE files SET expires_ms = ?", Date.now());
    });
    await runDurableObjectAlarm(registry as never);
    expect(await registry.file(view.inputFile)).toMatchObject({ id: view.inputFile });
    await stub.cancel();
    await until(name, "cancelled");
    await expect.poll(async () => codeOf(registry.removeFile(view.inputFile))).toBeNull();
  });

  it("whose upload broke off are not there, and go", async () => {
    await registryOf("r").beginFile("file-torn", "torn", "batch");
    await bucket.put("torn", Uint8Array.of(1));
    expect(await codeOf(registryOf("r").file("file-torn"))).toBe("not_found");
    expect(await codeOf(registryOf("r").addBatch("batch_x", "file-torn"))).toBe("not_found");
    await runInDurableObject(registryOf("r") as never, (_, { storage }) => {
      storage.sql.exec("UPDATE files SET created_ms = ? WHERE id = 'file-torn'", Date.now() - 86_400_001);
    });
    await runDurableObjectAlarm(registryOf("r") as never);
    expect(await bucket.get("torn")).toBeNull();
    expect(await codeOf(registryOf("r").endFile("file-torn", "x", 1, 1))).toBe("not_found");
  });

  it("are listed page by page in either order, by purpose", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push((await upload("list", String(i))).id);
    const order = await idsIn("list");
    expect(order.toSorted()).toEqual(ids.toSorted());
    const registry = registryOf("list");
    const first = await registry.files({ after: null, limit: 2, order: "desc" }, null);
    expect([first.files.map(({ id }) => id), first.isLast]).toEqual([order.toReversed().slice(0, 2), false]);
    const rest = await registry.files({ after: first.files[1]!.id, limit: 3, order: "desc" }, "batch");
    expect([rest.files.map(({ id }) => id), rest.isLast]).toEqual([order.toReversed().slice(2), true]);
    expect((await registry.files({ after: null, limit: 9, order: "asc" }, "batch_output")).files).toEqual([]);
    expect(await codeOf(registry.files({ after: "nope", limit: 9, order: "asc" }, null))).toBe("invalid_argument");
  });
});
