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
let newKey: TenantServer["newKey"];
let revoke: TenantServer["revoke"];
let stop: TenantServer["stop"];
beforeAll(async () => {
  ({ server, receiver, key, newKey, revoke, stop } = await startTenantServer());
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
    /^hook_\w+ {2}mine {2}open {2}http\S+ {2}pocket {2}standard ….{4} {2}replies: callback http\S+\n$/,
  );
  expect(listed).not.toContain(secret);

  const post = (by: string) => fetch(url, { method: "POST", ...standardPost(by, { text: "Hello!" }, "msg_1") });
  expect((await post(secret)).status).toBe(202);
  await expect.poll(() => receiver.at("/a").length, { timeout: 20_000 }).toBe(1);
  const log = async () => (await run(["deliveries", id, "--status", "completed"])).stdout;
  await expect
    .poll(log, { timeout: 5_000 })
    .toMatch(/^\S+ \S+ {2}msg_1 {2}completed {2}resp_\w+ {2}reply delivered {2}204\n$/);
  const rotated = (await run(["rotate", id, "--grace", "0"])).stdout.trim();
  expect([(await post(secret)).status, (await post(rotated)).status]).toEqual([401, 202]);
  expect((await run(["rotate", id, "--signing"])).stdout).toMatch(/^whsec_\S+\n$/);
  expect((await run(["delete", id])).stdout).toBe(`${id} deleted\n`);
  expect((await run(["list"])).stdout).toBe("none\n");
});

const slackSecret = "0123456789abcdef0123456789abcdef";

it("a service's own secret comes from the environment, and is named where it is missing or wrong", async () => {
  const create = ["create", "--from", "slack", "--input", "{{ text }}", "--to-slack"];
  const missing = { status: 1, stdout: "", stderr: expect.stringMatching(/^griffin: GRIFFIN_HOOK_SECRET is not set/) };
  expect(await run(create)).toMatchObject(missing);
  const made = await run(create, { GRIFFIN_HOOK_SECRET: slackSecret });
  const [, id = "", url = ""] = /(hook_\w+), posts go to (\S+)/.exec(made.stderr) ?? [];
  // Slack looks at no signature of ours, so there is no secret to show.
  expect(made.stdout).toBe(`${id}\n`);
  expect(made.stderr).toContain("posts are signed with the secret in GRIFFIN_HOOK_SECRET");
  const posted = await fetch(url, { method: "POST", ...slackPost(slackSecret, { text: "Hi." }) });
  expect([posted.status, await posted.text()]).toEqual([200, ""]);
  expect(await run(["rotate", id])).toMatchObject(missing);

  const github = ["create", "--from", "github", "--input", "{{ a }}"];
  const short = await run(github, { GRIFFIN_HOOK_SECRET: "short" });
  expect(short.stderr).toMatch(/secret: expected 16 to 256 characters\. It is the one in GRIFFIN_HOOK_SECRET\.\n$/);
  const own = await run(github, { GRIFFIN_HOOK_SECRET: "x".repeat(16) });
  expect([own.status, own.stdout]).toEqual([0, expect.stringMatching(/^hook_\w+\n$/)]);
  const callback = await run([...github, "--callback", `${receiver.url}/b`], { GRIFFIN_HOOK_SECRET: "x".repeat(16) });
  expect(callback.stdout).toMatch(/^whsec_\S+\n$/);
  expect(callback.stderr).toMatch(/what signs replies, shown once:\n$/);
});

it("another service's secret that is still there is not taken for a standard hook's", async () => {
  const create = ["create", "--input", "{{ text }}"];
  const made = await run(create, { GRIFFIN_HOOK_SECRET: slackSecret });
  expect(made).toMatchObject({ status: 0, stdout: expect.stringMatching(/^whsec_\S+\n$/) });
  expect(made.stderr).toMatch(
    /GRIFFIN_HOOK_SECRET does not begin with whsec_.*\nhook_.*\nwhat signs posts, shown once:\n$/,
  );
  const secret = `whsec_${btoa("x".repeat(24))}`;
  const given = await run(create, { GRIFFIN_HOOK_SECRET: secret });
  const [, url = ""] = /posts go to (\S+)/.exec(given.stderr) ?? [];
  expect(given.stdout).toMatch(/^hook_\w+\n$/);
  expect((await fetch(url, { method: "POST", ...standardPost(secret, { text: "" }, "m") })).status).toBe(202);
});

it("a hook is changed, and is seen to be closed when its key was revoked", async () => {
  const made = await run(["create", "--input", "{{ text }}", "--key", "{{ id }}", "--json"]);
  const { id } = JSON.parse(made.stdout) as { id: string };
  const shown = async () => {
    const listed = JSON.parse((await run(["list", "--json"])).stdout) as { id: string }[];
    return listed.find((each) => each.id === id);
  };
  const callback = `${receiver.url}/c`;
  const changed = await run(["update", id, "--callback", callback, "--name", "new", "--key", "", "--max-tokens", "5"]);
  expect(changed.stdout).toMatch(/^whsec_\S+\n$/);
  const told = { name: "new", conversation_key: null, max_output_tokens: 5, input: "{{ text }}" };
  expect(await shown()).toMatchObject({ ...told, reply: { type: "callback", url: callback } });
  const quiet = await run(["update", id, "--no-reply", "--input", "Say: {{ text }}"]);
  expect(quiet.stdout).toMatch(new RegExp(`^${id}  new  open  .* replies: none\\n$`));
  expect(await shown()).toMatchObject({ input: "Say: {{ text }}", reply: { type: "none" } });

  const { id: revoked, secret } = await newKey();
  const theirs = await run(["create", "--input", "a"], { GRIFFIN_API_KEY: secret });
  const [closed = ""] = /hook_\w+/.exec(theirs.stderr) ?? [];
  await revoke(revoked);
  expect((await run(["list"])).stdout).toMatch(new RegExp(`^${closed}  standard  closed \\(key_revoked\\)  `, "m"));
});
