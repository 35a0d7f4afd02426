// What becomes of requests that have no key of the server, or none at all, before any object is asked and of however large
// a body.
import { beforeEach, describe, expect, it } from "vitest";
import type { Env } from "../../src/conversation/env.ts";
import { createApp } from "../../src/http/app.ts";
import { bodyLimitBytes } from "../../src/http/read-body.ts";
import { newApiKey, newTenantId } from "../../src/tenant/api-key.ts";
import { objectName } from "./turns.ts";

const lines: Record<string, unknown>[] = [];
beforeEach(() => void lines.splice(0));
const app = createApp({ modelIds: () => ["pocket"], log: (line) => lines.push(JSON.parse(line)) });
/** Nothing here reaches a binding; whatever did would fail with 500. */
const closed = { ADMIN_KEY: "administrators", KEY_SECRET: "seals" } as Env;
const pieceBytes = 2 ** 16;

/** The status of the answer to a body of so many bytes, sent without a length, and how many were asked for. */
async function send(method: string, path: string, bytes: number, key?: string, env = closed) {
  let readBytes = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (readBytes >= bytes) return controller.close();
        readBytes += pieceBytes;
        controller.enqueue(new Uint8Array(pieceBytes));
      },
    },
    { highWaterMark: 0 },
  );
  const headers = key === undefined ? undefined : { authorization: `Bearer ${key}` };
  const { status } = await app.request(path, { method, headers, body, duplex: "half" } as RequestInit, env);
  return { status, readBytes };
}

const routes: [string, string][] = [
  ["POST", "/v1/responses"],
  ["POST", "/v1/nothing"],
  ["POST", "/tokenize"],
  ["PUT", `/v1/conversations/conv_${objectName}_0/state`],
  ["POST", "/v1/admin/tenants"],
];

describe.each(routes)("without a good key, %s %s", (method, path) => {
  it.each([
    ["none", undefined],
    ["another word", "any"],
    ["one that somebody else made", newApiKey(newTenantId(), "guessed")],
  ])("is refused by the key alone: %s", async (_, key) => {
    expect(await send(method, path, 0, key)).toEqual({ status: 401, readBytes: 0 });
    // To its end, or its sender would see a broken connection instead of the answer.
    expect(await send(method, path, bodyLimitBytes, key)).toEqual({ status: 401, readBytes: bodyLimitBytes });
    const { status, readBytes } = await send(method, path, 20 * bodyLimitBytes, key);
    expect(status).toBe(401);
    expect(readBytes).toBeLessThanOrEqual(bodyLimitBytes + pieceBytes);
  });
});

describe("with a good key", () => {
  it("a body that is too large is refused as such", async () => {
    const key = newApiKey(newTenantId(), "seals");
    expect((await send("POST", "/v1/responses", 2 * bodyLimitBytes, key)).status).toBe(413);
    expect((await send("POST", "/v1/admin/tenants", 2 * bodyLimitBytes, "administrators")).status).toBe(413);
  });

  it("that was sealed with another secret than the server's now nobody gets in", async () => {
    const ask = async (secret: string, env: Partial<Env>) =>
      (await send("POST", "/v1/responses", 2 * bodyLimitBytes, newApiKey(newTenantId(), secret), env as Env)).status;
    expect(await ask("administrators", closed)).toBe(401);
    expect(await ask("administrators", { ADMIN_KEY: "administrators" })).toBe(413);
    for (const nothing of ["", "undefined", "null"]) expect(await ask(nothing, {})).toBe(401);
  });
});

describe("a server whose administrators' key no header can carry", () => {
  it.each(["two words", "line\n", " "])("lets nobody in and says so in its log: %j", async (adminKey) => {
    const env = { ADMIN_KEY: adminKey } as Env;
    for (const key of [undefined, "two", "line", newApiKey(newTenantId(), adminKey)]) {
      for (const path of ["/v1/admin/tenants", "/metrics", "/v1/models"]) {
        const headers = key === undefined ? undefined : { authorization: `Bearer ${key}` };
        expect((await app.request(path, { headers }, env)).status).toBe(500);
        expect(lines.at(-1)).toMatchObject({ error_message: expect.stringMatching(/^ADMIN_KEY may have neither/) });
      }
    }
  });
});
