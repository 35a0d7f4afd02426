// griffin hooks against a real server and a real receiver.
import { afterAll, beforeAll, expect, it } from "vitest";
import { slackPost, standardPost } from "../clients/signed-posts.ts";
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

const run = (args: string[], environment: Record<string, string> = {}) =>
  griffin(["hooks", ...args, "--url", server.url], "", process.execPath, { GRIFFIN_API_KEY: key, ...environment });

it("a hook is made, posted to, rotated and deleted", async () => {
  const callback = ["--callback", `${receiver.url}/a`];
  const made = await run(["create", "--input", "{{ text }}", "--max-tokens", "4", "--name", "mine", ...callback]);
  const [secret = "", signing = ""] = made.stdout.trim().split("\n");
  expect([secret, signing]).toEqual([expect.stringMatching(/^whsec_/), expect.stringMatching(/^whsec_/)]);
  const [, id = "", url = ""] = /^(hook_\w+), posts go to (\S+)$/m.exec(made.stderr) ?? [];
  const listed = (await run(["list"])).stdout;
  expect(listed).toMatch(
    /^hook_\w+ {2}mine {2}http\S+ {2}enabled {2}pocket {2}standard ….{4} {2}replies: callback http\S+\n$/,
  );
  expect(listed).not.toContain(secret);

  const post = (by: string) => fetch(url, { method: "POST", ...standardPost(by, { text: "Hello!" }, "msg_1") });
  expect((await post(secret)).status).toBe(202);
  await expect.poll(() => receiver.at("/a").length, { timeout: 20_000 }).toBe(1);
  const log = async () => (await run(["deliveries", id, "--status", "completed"])).stdout;
  await expect.poll(log).toMatch(/^\S+ \S+ {2}msg_1 {2}completed {2}resp_\w+ {2}reply delivered \(204\)\n$/);
  const updated = await run(["update", id, "--name", "ours", "--no-replies"]);
  expect(updated).toMatchObject({ status: 0, stdout: `${id}\n` });
  expect((await run(["list"])).stdout).toMatch(/ {2}ours .* replies: none\n$/);
  await run(["update", id, ...callback]);
  // Who has another service's secret there keeps it: this one's is made by the server.
  const other = { GRIFFIN_HOOK_SECRET: "0123456789abcdef0123456789abcdef" };
  const rotated = (await run(["rotate", id, "--grace", "0"], other)).stdout.trim();
  expect([(await post(secret)).status, (await post(rotated)).status]).toEqual([401, 202]);
  expect((await run(["rotate", id, "--signing"])).stdout).toMatch(/^whsec_\S+\n$/);
  expect((await run(["delete", id])).stdout).toBe(`${id} deleted\n`);
  expect((await run(["list"])).stdout).toBe("none\n");
});

it("a service's own secret comes from the environment", async () => {
  const secret = "0123456789abcdef0123456789abcdef";
  const create = ["create", "--from", "slack", "--input", "{{ text }}", "--to-slack"];
  expect(await run(create)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("GRIFFIN_HOOK_SECRET is not set"),
  });
  const made = await run(create, { GRIFFIN_HOOK_SECRET: secret });
  const [, url = ""] = /posts go to (\S+)/.exec(made.stderr) ?? [];
  expect(made.stdout).not.toContain(secret);
  expect(made.stderr).toMatch(/posts go to \S+\nwhat signs replies; shown once:\n$/);
  const posted = await fetch(url, { method: "POST", ...slackPost(secret, { text: "Hi." }) });
  expect([posted.status, await posted.text()]).toEqual([200, ""]);
});
