// griffin webhooks against a real server and a real receiver.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Receiver } from "../serve/receiver.ts";
import type { TestServer } from "../server.ts";
import { griffin } from "./program.ts";
import { startTenantServer, type TenantServer } from "./tenant-server.ts";

let server: TestServer;
let receiver: Receiver;
let key: string;
let stop: TenantServer["stop"];
beforeAll(async () => {
  ({ server, receiver, key, stop } = await startTenantServer());
});
afterAll(() => stop());

const withKey = (secret: string, ...args: string[]) =>
  griffin(["webhooks", ...args, "--url", server.url], "", process.execPath, { GRIFFIN_API_KEY: secret });
const run = (...args: string[]) => withKey(key, ...args);

it("an endpoint is made, changed, tested, replayed to, rotated and deleted", async () => {
  const made = await run(
    "create",
    `${receiver.url}/a`,
    "--name",
    "mine",
    "--events",
    "response.completed",
    "response.incomplete",
  );
  expect(made.stdout).toMatch(/^whsec_\S+\n$/);
  const [id = ""] = /whe_\w+/.exec(made.stderr) ?? [];
  const listed = (await run("list")).stdout;
  expect(listed).toMatch(
    /^whe_\w+ {2}mine {2}http.*\/a {2}enabled {2}whsec_….{4} {2}response.completed.*response.incomplete\n$/,
  );
  expect(listed).not.toContain(made.stdout.trim());

  expect(await run("test", id)).toMatchObject({ status: 0, stdout: expect.stringMatching(/^evt_test_\w+ {2}204\n$/) });
  const [event = ""] = /evt_test_\w+/.exec((await run("deliveries", id, "--status", "delivered")).stdout) ?? [];
  expect((await run("replay", id, event)).stdout).toContain(`${event}  response.completed  pending  204`);
  await expect.poll(async () => (await run("deliveries", id)).stdout).toContain("delivered  204, 204");
  // A test is over when it was made: what is told anew is what happened.
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const body = JSON.stringify({ model: "pocket", input: "Hello!", max_output_tokens: 2 });
  await (await fetch(new URL("/v1/responses", server.url), { method: "POST", headers, body })).text();
  await expect.poll(() => receiver.at("/a").length, { timeout: 5_000 }).toBe(3);
  await expect.poll(async () => (await run("deliveries", id, "--status", "delivered")).stdout).toContain("evt_resp_");
  expect((await run("replay", id, "--from", "2026-01-01T00:00Z")).stdout).toBe("1 events are told anew\n");
  const from = "2026-01-01T00:00Z";
  expect((await run("replay", id, "--all", "--to", from)).stdout).toBe("0 events are told anew\n");
  // Nothing is told anew by mistake.
  for (const said of [[], ["--to", from], ["--status", "delivered"], [event, "--all"], ["--from", from, "--all"]]) {
    const stderr = expect.stringContaining("an event, --from a time, or --all");
    expect(await run("replay", id, ...said)).toMatchObject({ status: 1, stdout: "", stderr });
  }
  await expect.poll(() => receiver.at("/a").length).toBe(4);

  const update = await run("update", id, "--disable", "--to", `${receiver.url}/b`, "--events", "batch.failed");
  expect(update.stdout).toMatch(/\/b {2}disabled \(asked\) .*batch.failed\n$/);
  expect((await run("update", id, "--enable")).stdout).toContain("  enabled  ");
  const rotated = (await run("rotate", id, "--grace", "0")).stdout.trim();
  expect(rotated).toMatch(/^whsec_/);
  expect(rotated).not.toBe(made.stdout.trim());
  expect((await run("delete", id)).stdout).toBe(`${id} deleted\n`);
  expect((await run("list")).stdout).toBe("none\n");
});

it("what is wrong is said in one line", async () => {
  const refused = { status: 1, stdout: "" };
  const forbidden = await run("create", "ftp://hooks.example.com/");
  expect(forbidden).toMatchObject({ ...refused, stderr: expect.stringMatching(/^griffin: .*only https.*\n$/) });
  expect(await withKey("", "list")).toMatchObject({
    ...refused,
    stderr: expect.stringContaining("GRIFFIN_API_KEY is not set"),
  });
  const wrong = await withKey("gk_nobody", "list");
  expect(wrong.stderr).toContain("The key that was sent is the one in GRIFFIN_API_KEY.");
  const nobody = await run("test", "whe_nobody");
  expect(nobody).toMatchObject({ ...refused, stderr: expect.stringContaining("There is no webhook endpoint") });
  const { stdout } = await run("create", "http://127.0.0.1:9/", "--json");
  const { id } = JSON.parse(stdout) as { id: string };
  expect(await run("test", id)).toMatchObject({ status: 1, stdout: expect.stringContaining("connection_failed") });
});
