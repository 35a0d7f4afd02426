// griffin tenants and griffin keys against a real server.
import { afterAll, beforeAll, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { griffin } from "./program.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ environment: { ADMIN_KEY: "administrators" } });
});
afterAll(() => server.stop());

const withKey = (adminKey: string, ...args: string[]) =>
  griffin(args, "", process.execPath, { GRIFFIN_ADMIN_KEY: adminKey });
const run = (...args: string[]) => withKey("administrators", ...args, "--url", server.url);
const models = async (secret: string) =>
  (await fetch(`${server.url}/v1/models`, { headers: { authorization: `Bearer ${secret}` } })).status;

it("a tenant and its keys are made, limited, rotated, revoked and deleted", async () => {
  const [tenant = ""] = (await run("tenants", "create", "Ada & Co", "--requests", "100")).stdout.split("  ");
  expect(tenant).toMatch(/^[0-9a-f]{16}$/);
  expect((await run("tenants", "list")).stdout).toBe(`${tenant}  Ada & Co  requests_per_minute 100\n`);
  expect((await run("tenants", "limit", tenant, "--concurrency", "2")).stdout).toContain("concurrency 2");

  const made = await run("keys", "create", tenant, "laptop", "--scopes", "read", "--days", "30");
  const secret = made.stdout.trim();
  expect(secret).toMatch(/^gk_/);
  expect(await models(secret)).toBe(200);
  const rotated = (await run("keys", "rotate", tenant, "key_1", "--grace", "0")).stdout.trim();
  expect([await models(secret), await models(rotated)]).toEqual([401, 200]);
  const listed = (await run("keys", "list", tenant)).stdout;
  expect(listed).toMatch(/^key_1 {2}laptop {2}read {2}no limits {2}used .* {2}expires /);
  expect(listed).not.toContain(rotated);
  expect((await run("keys", "revoke", tenant, "key_1")).stdout).toContain("revoked");
  expect(await models(rotated)).toBe(401);

  const { secret: other } = JSON.parse((await run("keys", "create", tenant, "server", "--json")).stdout) as {
    secret: string;
  };
  const headers = { authorization: `Bearer ${other}`, "content-type": "application/json" };
  const body = JSON.stringify({ prompt: "The fox", max_tokens: 2 });
  await (await fetch(`${server.url}/v1/completions`, { method: "POST", headers, body })).text();
  await expect.poll(async () => (await run("keys", "usage", tenant)).stdout).toMatch(/key_2 {2}1 requests, \d+ prompt/);
  expect((await run("tenants", "delete", tenant)).stdout).toBe(`${tenant} deleted\n`);
  expect(await models(other)).toBe(401);
  expect((await run("tenants", "list")).stdout).toBe("none\n");
});

it("what is wrong is said in one line", async () => {
  const without = await withKey("", "tenants", "list", "--url", server.url);
  expect(without).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^griffin: GRIFFIN_ADMIN_KEY is not set.*\n$/),
  });
  const wrong = await withKey("wrong", "tenants", "list", "--url", server.url);
  expect(wrong).toMatchObject({ status: 1, stderr: expect.stringMatching(/^griffin: http.*administrators' key/) });
  const nobody = await run("keys", "list", "0000000000000000");
  expect(nobody).toMatchObject({ status: 1, stderr: expect.stringContaining("There is no tenant with this id.") });
  const nowhere = await withKey("x", "tenants", "list", "--url", "http://127.0.0.1:9");
  expect(nowhere).toMatchObject({ status: 1, stderr: "griffin: There is no server at http://127.0.0.1:9.\n" });
});
