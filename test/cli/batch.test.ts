// griffin batch against a real server.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startDevServer, type DevServer } from "../dev-server.ts";
import { administrator } from "../serve/administrator.ts";
import { griffin } from "./program.ts";

let server: DevServer;
let folder: string;
let secret: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "griffin-batch-"));
  server = await startDevServer({ ADMIN_KEY: "administrators" });
  const admin = administrator(server.url, "administrators");
  ({ secret } = await admin.createKey((await admin.createTenant("t")).id, { name: "k" }));
}, 90_000);
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const withKey = (key: string, ...args: string[]) =>
  griffin(["batch", ...args, "--url", server.url], "", process.execPath, { GRIFFIN_API_KEY: key });
const run = (...args: string[]) => withKey(secret, ...args);

it("submits a file, shows how far it is, and writes what came of it", async () => {
  const file = path.join(folder, "in.jsonl");
  const lines = Array.from({ length: 10 }, (_, i) =>
    JSON.stringify({
      custom_id: `r${i}`,
      method: "POST",
      url: "/v1/completions",
      body: { model: "pocket", prompt: "The fox", max_tokens: 3 },
    }),
  );
  await writeFile(file, [...lines, "not json"].join("\n"));
  const submitted = await run("submit", file, "--endpoint", "/v1/completions");
  const id = submitted.stdout.trim();
  expect(id).toMatch(/^batch_[a-z2-7]{32}$/);
  const watched = await run("status", id, "--watch");
  const line = `${id}  completed  11 of 11 lines done, 1 of them failed\n`;
  // One line was not answered.
  expect(watched).toMatchObject({ status: 1, stdout: line });
  expect(await run("status", id)).toMatchObject({ status: 1, stdout: line });
  expect(JSON.parse((await run("status", id, "--json")).stdout)).toMatchObject({ id, status: "completed" });

  const printed = await run("results", id);
  expect(printed.stderr).toBe(line);
  const ids = printed.stdout
    .trimEnd()
    .split("\n")
    .map((each) => (JSON.parse(each) as { custom_id: string | null }).custom_id);
  expect(ids.toSorted()).toEqual([null, ...lines.map((_, i) => `r${i}`)].toSorted());
  const out = path.join(folder, "out.jsonl");
  expect((await run("results", id, "-o", out)).stdout).toBe("");
  expect(await readFile(out, "utf8")).toBe(printed.stdout);
});

it("fails where a batch that is watched does, and says why", async () => {
  const file = path.join(folder, "empty.jsonl");
  await writeFile(file, "\n");
  const watched = await run("submit", file, "--watch");
  expect(watched.status).toBe(1);
  expect(watched.stdout).toMatch(/^batch_\S+ {2}failed .* The input file has no lines\.\n$/);
});

it("waits where the key has used what it may, and cancels", async () => {
  const file = path.join(folder, "one.jsonl");
  const body = { model: "pocket", prompt: "The fox", max_tokens: 3 };
  await writeFile(file, JSON.stringify({ custom_id: "a", method: "POST", url: "/v1/completions", body }));
  const admin = administrator(server.url, "administrators");
  const limits = { requests_per_minute: 4 };
  const { secret: slow } = await admin.createKey((await admin.createTenant("slow")).id, { name: "k", limits });
  // Two requests to submit, and one of the line; then the minute is over before the batch is.
  while (Date.now() % 60_000 < 40_000 || Date.now() % 60_000 > 50_000) {
    await new Promise((resolve) => void setTimeout(resolve, 200));
  }
  const submitted = await withKey(slow, "submit", file, "--endpoint", "/v1/completions");
  const id = submitted.stdout.trim();
  for (let i = 0; i < 4; i++) {
    expect(await withKey(slow, "status", id, "--watch")).toMatchObject({
      status: 0,
      stdout: `${id}  completed  1 of 1 lines done, 0 of them failed\n`,
    });
  }
  expect(await run("cancel", `batch_${"a".repeat(32)}`)).toMatchObject({ status: 1 });
  const again = (await run("submit", file, "--endpoint", "/v1/completions")).stdout.trim();
  const cancelled = await run("cancel", again);
  expect(cancelled.stdout + cancelled.stderr).toMatch(/cancell(ing|ed)|nothing to cancel/);
}, 120_000);

it("says in one line what is wrong", async () => {
  expect(await withKey("", "status", "batch_x")).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^griffin: http.*no API key.* GRIFFIN_API_KEY is not set.*\n$/),
  });
  expect(await run("status", `batch_${"a".repeat(32)}`)).toMatchObject({
    status: 1,
    stderr: `griffin: ${server.url}: There is no batch with this id.\n`,
  });
  const nowhere = await run("submit", path.join(folder, "nowhere.jsonl"));
  expect(nowhere).toMatchObject({ status: 1, stderr: expect.stringMatching(/^griffin: Cannot read .*\n$/) });
});
