// Posts to hooks before any object is asked: of a name that this server did not make none is woken.
import { expect, it } from "vitest";
import type { Env } from "../../src/conversation/env.ts";
import { randomName } from "../../src/conversation/names.ts";
import { createApp } from "../../src/http/app.ts";
import { isSealed, sealedName } from "../../src/http/sealed-names.ts";

const app = createApp({ modelIds: () => ["pocket"], log: () => undefined });
/** The status of a post to a hook, and whether its object was asked. */
async function post(name: string, env: object) {
  let isAsked = false;
  const stub = { receive: async () => ((isAsked = true), { status: "refused" }) };
  const bindings = { ...env, HOOKS: { idFromName: (id: string) => id, get: () => stub } } as unknown as Env;
  const { status } = await app.request(`/v1/hooks/hook_${name}`, { method: "POST", body: "{}" }, bindings);
  return { status, isAsked };
}

it("the object of a hook is asked where the name is one that this server made, with this secret", async () => {
  const env = { ADMIN_KEY: "administrators", KEY_SECRET: "seals" };
  const name = sealedName("hook", env);
  expect(name).toMatch(/^[a-z2-7]{32}$/);
  expect(await post(name, env)).toEqual({ status: 401, isAsked: true });
  const other = name.startsWith("a") ? "b" : "a";
  const forged = [randomName(), other + name.slice(1), name.slice(0, 31) + (name.endsWith("a") ? "b" : "a"), "x"];
  for (const each of forged) expect(await post(each, env)).toEqual({ status: 401, isAsked: false });
  expect(await post(name, { ...env, KEY_SECRET: "another" })).toEqual({ status: 401, isAsked: false });
  expect(isSealed("file", name, env)).toBe(false);
});

it("an open server has no secret to seal names with", async () => {
  expect(await post(randomName(), { ACCESS: "open" })).toEqual({ status: 401, isAsked: true });
  expect(sealedName("hook", {})).toMatch(/^[a-z2-7]{32}$/);
});
