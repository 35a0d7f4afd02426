// griffin batch against a real server.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startDevServer, type DevServer } from "../dev-server.ts";
import { administrator, type Admin } from "../serve/administrator.ts";
import { griffin } from "./program.ts";

let server: DevServer;
let folder: string;
let secret: string;
let admin: Admin;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "griffin-batch-"));
  server = await startDevServer({ ADMIN_KEY: "administrators" });
  admin = administrator(server.url, "administrators");
  ({ secret } = await admin.createKey((await admin.createTenant("t")).id, { name: "k" }));
}, 90_000);
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const withKey = (key: string, ...args: string[]) =>
  griffin(["batch", ...args, "--url", server.url], "", process.execPath, { GRIFFIN_API_KEY: key });
const run = (...args: string[]) => withKey(secret, ...args);

/** A file of so many lines that are answered, and others. */
async function fileOf(name: string, good: number, ...others: string[]): Promise<string> {
  const body = { model: "pocket", prompt: "The fox", max_tokens: 3 };
  const lines = Array.from({ length: good }, (_, i) =>
    JSON.stringify({ custom_id: `r${i}`, method: "POST", url: "/v1/completions", body }),
  );
  const file = path.join(folder, name);
  await writeFile(file, [...lines, ...others].join("\n"));
  return file;
}

it("submits a file, shows how far it is, and writes what came of it", async () => {
  const file = await fileOf("in.jsonl", 10, "not json");
  const submitted = await run("submit", file, "--endpoint", "/v1/completions");
  const id = submitted.stdout.trim();
  expect(id).toMatch(/^batch_[a-z2-7]{32}$/);
  const watched = await run("status", id, "--watch");
  const line = `${id}  completed  11 of 11 lines done, 1 of them failed\n`;
  expect(watched).toMatchObject({ status: 0, stdout: line });
  expect((await run("status", id)).stdout).toBe(line);
  expect(JSON.parse((await run("status", id, "--json")).stdout)).toMatchObject({ id, status: "completed" });

  const printed = await run("results", id);
  expect(printed.stderr).toBe(line);
  const ids = printed.stdout
    .trimEnd()
    .split("\n")
    .map((each) => (JSON.parse(each) as { custom_id: string | null }).custom_id);
  expect(ids.toSorted()).toEqual([null, ...Array.from({ length: 10 }, (_, i) => `r${i}`)].toSorted());
  const out = path.join(folder, "out.jsonl");
  expect((await run("results", id, "-o", out)).stdout).toBe("");
  expect(await readFile(out, "utf8")).toBe(printed.stdout);
});

it("fails where a batch failed, or all of its lines did, and says so", async () => {
  const empty = await run("submit", await fileOf("empty.jsonl", 0, "", ""), "--watch");
  expect(empty.stdout).toMatch(/^batch_\S+ {2}failed .* The input file has no lines\.\n$/);
  const bad = await run("submit", await fileOf("bad.jsonl", 0, "not json"), "--watch");
  expect(bad.stdout).toMatch(/^batch_\S+ {2}completed {2}1 of 1 lines done, 1 of them failed\n$/);
  for (const { status, stdout } of [empty, bad]) {
    const [id = ""] = stdout.split(" ");
    expect([status, (await run("status", id)).status, (await run("results", id)).status]).toEqual([1, 1, 1]);
  }
});

it("cancels a batch", async () => {
  const file = await fileOf("many.jsonl", 2_000);
  const id = (await run("submit", file, "--endpoint", "/v1/completions")).stdout.trim();
  expect(await run("cancel", id)).toMatchObject({ status: 0, stdout: expect.stringContaining(`${id}  cancelling  `) });
  const watched = await run("status", id, "--watch");
  expect(watched).toMatchObject({ status: 1, stdout: expect.stringContaining(`${id}  cancelled  `) });
  expect(await run("cancel", id)).toMatchObject({ status: 0, stdout: watched.stdout });
});

it("waits for its minute where the limit of its key is reached", async () => {
  const tenant = await admin.createTenant("small");
  const small = await admin.createKey(tenant.id, { name: "k", limits: { requests_per_minute: 2 } });
  // The wait is short.
  while (Date.now() % 60_000 < 48_000 || Date.now() % 60_000 > 55_000)
    await new Promise((resolve) => void setTimeout(resolve, 500));
  const list = () => withKey(small.secret, "status", `batch_${"a".repeat(32)}`);
  for (let i = 0; i < 2; i++) expect((await list()).stderr).not.toContain("Asking again");
  expect((await list()).stderr).toMatch(
    /^griffin: The limit of requests per minute is reached\. Asking again in \d+ s\.\ngriffin: .* no batch with this id\.\n$/,
  );
}, 90_000);

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
