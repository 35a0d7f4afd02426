// Many tenants at one server that asks for keys: nobody sees another's, every limit is exact, no answer is lost.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer, type TestServer } from "../server.ts";
import { administrator, type Admin } from "./administrator.ts";

const tenantCount = 50;
const requestsOfTenant = 40;
/** In each tenant's minute; some of the requests are one too many. */
const limit = 36;
const atOnce = 16;

interface Customer {
  n: number;
  id: string;
  secret: string;
  /** What only this customer says. */
  word: string;
  answered: number;
  admitted: number;
  limited: number;
}

let server: TestServer;
let admin: Admin;
beforeAll(async () => {
  server = await startServer({ environment: { ADMIN_KEY: "administrators" } });
  admin = administrator(server.url, "administrators");
});
afterAll(() => server.stop());

type Json = Record<string, unknown>;

async function ask(secret: string, method: string, path: string, body?: Json) {
  const headers: Record<string, string> = { authorization: `Bearer ${secret}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(`${server.url}${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

/** What `atOnce` workers do of this, one after another. */
async function inTurns(jobs: (() => Promise<void>)[]): Promise<void> {
  const entries = jobs.entries();
  const work = async () => {
    for (const [, job] of entries) await job();
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

const greedy = { temperature: 0, max_output_tokens: 4 };

describe("fifty tenants", { timeout: 200_000 }, () => {
  it("each see their own, and get exactly what their limit says, in 2 000 requests that cross each other", async () => {
    const customers: Customer[] = [];
    for (let n = 0; n < tenantCount; n++) {
      const { id } = await admin.createTenant(`tenant ${n}`);
      const { secret } = await admin.createKey(id, { name: "k" });
      // Words that pocket does not know: its tokens are bytes of them.
      customers.push({ n, id, secret, word: `Zq${n}xv`, answered: 0, admitted: 0, limited: 0 });
    }
    const chats = new Map<Customer, string>();
    await inTurns(
      customers.map((customer) => async () => {
        const { text } = await ask(customer.secret, "POST", "/v1/conversations", {});
        chats.set(customer, (JSON.parse(text) as { id: string }).id);
      }),
    );
    const ids = customers.map((customer) => chats.get(customer) ?? "");
    expect(new Set(ids).size).toBe(tenantCount);

    // From here on within one minute of the clock for each: limits are set when it has just begun.
    await nextMinute();
    await inTurns(
      customers.map(
        ({ id }) =>
          async () =>
            void (await admin.updateTenant(id, { limits: { requests_per_minute: limit } })),
      ),
    );
    const startMs = Date.now();
    const jobs = Array.from({ length: requestsOfTenant }, (_, k) =>
      customers.map((customer) => async () => {
        const own = chats.get(customer) ?? "";
        const other = ids[(customer.n + k + 1) % tenantCount] ?? "";
        const kind = k % 8;
        const answer =
          kind === 0
            ? await ask(customer.secret, "POST", `/v1/conversations/${own}/items`, {
                items: [{ type: "message", role: "user", content: `${customer.word} ${k}` }],
              })
            : kind === 1 && k === 1
              ? await ask(customer.secret, "POST", "/v1/responses", {
                  ...greedy,
                  conversation: own,
                  input: customer.word,
                })
              : kind === 2
                ? await ask(customer.secret, "GET", `/v1/conversations/${other}`)
                : kind === 3
                  ? await ask(customer.secret, "GET", `/v1/conversations/${other}/items`)
                  : kind === 4
                    ? await ask(customer.secret, "GET", "/v1/models")
                    : await ask(customer.secret, "GET", `/v1/conversations/${own}/items?limit=100`);
        customer.answered++;
        if (answer.status === 429) {
          customer.limited++;
          expect(JSON.parse(answer.text)).toMatchObject({ error: { code: "rate_limit_exceeded" } });
          expect(Number(answer.headers.get("retry-after-ms"))).toBeGreaterThan(0);
          return;
        }
        customer.admitted++;
        expect(answer.status, `${kind}: ${answer.text}`).toBe(kind === 2 || kind === 3 ? 404 : 200);
        expect(answer.headers.get("x-ratelimit-limit-requests")).toBe(String(limit));
        const others = answer.text.match(/Zq\d+xv/g)?.filter((word) => word !== customer.word) ?? [];
        expect(others).toEqual([]);
      }),
    ).flat();
    await inTurns(jobs);
    expect(Date.now() - startMs, "it has to fit into a minute of the clock").toBeLessThan(58_000);
    expect(customers.map(({ answered }) => answered)).toEqual(customers.map(() => requestsOfTenant));
    // The conversation was made before the limit, in another minute. What runs no tokens is counted apart from the response.
    const admitted = limit + 1;
    expect(customers.map(({ admitted: count }) => count)).toEqual(customers.map(() => admitted));
    expect(customers.map(({ limited }) => limited)).toEqual(customers.map(() => requestsOfTenant - admitted));
    const { data } = await admin.usage(customers[0]!.id);
    expect(data).toMatchObject([{ key: "key_1", requests: 1 }]);
  });
});

describe("an id of another tenant", { timeout: 60_000 }, () => {
  it("is answered exactly as one that nobody made, and in the same time", async () => {
    const people: { secret: string }[] = [];
    for (const name of ["Ada", "Tom"])
      people.push(await admin.createKey((await admin.createTenant(name)).id, { name }));
    const [ada, tom] = people.map(({ secret }) => secret) as [string, string];
    const chat = JSON.parse((await ask(ada, "POST", "/v1/conversations", {})).text) as { id: string };
    const begun = { ...greedy, conversation: chat.id, input: "My name is Ada." };
    const response = JSON.parse((await ask(ada, "POST", "/v1/responses", begun)).text) as {
      id: string;
      output: { id: string }[];
    };
    const item = response.output[0]!.id;
    const nobody = (id: string) => id.replace(/_[a-z2-7]{32}_/, `_${"b".repeat(32)}_`);
    const pairs: ((id: string, response: string, item: string) => [string, string, Json?])[] = [
      (id) => ["GET", `/v1/conversations/${id}`],
      (id) => ["POST", `/v1/conversations/${id}`, { metadata: {} }],
      (id) => ["DELETE", `/v1/conversations/${id}`],
      (id) => ["GET", `/v1/conversations/${id}/items`],
      (id) => ["GET", `/v1/conversations/${id}/state`],
      (id) => ["POST", `/v1/conversations/${id}/fork`, {}],
      (id, _, each) => ["GET", `/v1/conversations/${id}/items/${each}`],
      (_, id) => ["GET", `/v1/responses/${id}`],
      (_, id) => ["GET", `/v1/responses/${id}?stream=true`],
      (_, id) => ["GET", `/v1/responses/${id}/input_items`],
      (_, id) => ["POST", `/v1/responses/${id}/cancel`, {}],
      (_, id) => ["DELETE", `/v1/responses/${id}`],
      (id) => ["POST", "/v1/responses", { input: "Hi.", conversation: id }],
      (_, id) => ["POST", "/v1/responses", { input: "Hi.", previous_response_id: id }],
      (_, __, each) => [
        "POST",
        "/v1/responses",
        {
          input: [
            { type: "item_reference", id: each },
            { role: "user", content: "Hi." },
          ],
        },
      ],
      (_, id) => ["POST", "/v1/responses/input_tokens", { input: "Hi.", previous_response_id: id }],
    ];
    const known = [chat.id, response.id, item] as const;
    const unknown = [nobody(chat.id), nobody(response.id), nobody(item)] as const;
    for (const request of pairs) {
      const theirs = await ask(tom, ...request(...known));
      const nobodys = await ask(tom, ...request(...unknown));
      expect(theirs.status, request(...known).join(" ")).toBeGreaterThanOrEqual(400);
      expect([theirs.status, theirs.text]).toEqual([nobodys.status, nobodys.text]);
      const names = (headers: Headers) => [...headers.keys()].sort();
      expect(names(theirs.headers)).toEqual(names(nobodys.headers));
    }
    // The chat is as it was.
    const items = JSON.parse((await ask(ada, "GET", `/v1/conversations/${chat.id}/items`)).text) as { data: unknown[] };
    expect(items.data).toHaveLength(2);

    const times: [number[], number[]] = [[], []];
    for (let round = 0; round < 200; round++) {
      for (const [which, id] of [chat.id, nobody(chat.id)].entries()) {
        const startMs = performance.now();
        await ask(tom, "GET", `/v1/conversations/${id}`);
        times[which]!.push(performance.now() - startMs);
      }
    }
    const [theirs, nobodys] = times.map((each) => each.sort((a, b) => a - b)[each.length >> 1]!) as [number, number];
    expect(theirs / nobodys).toBeGreaterThan(0.7);
    expect(theirs / nobodys).toBeLessThan(1.4);
  });
});

/** Waits until a minute of the clock has just begun. */
async function nextMinute(): Promise<void> {
  await new Promise((resolve) => void setTimeout(resolve, 60_000 - (Date.now() % 60_000) + 20));
}
