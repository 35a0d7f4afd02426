// Webhooks in over HTTP: posts signed as services sign them run turns on a real server, and real receivers get the replies.
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { administrator, type Admin } from "../serve/administrator.ts";
import { startReceiver, type Received, type Receiver } from "../serve/receiver.ts";
import { startServer, type TestServer } from "../server.ts";
import { githubPost, slackPost, standardPost, type SignedPost } from "./signed-posts.ts";

interface Hook {
  id: string;
  url: string;
  secret: string;
  signing_secret: string;
}
interface Delivery {
  id: string;
  status: string;
  conversation: string;
  response: string;
  error: { code: string } | null;
  reply: string;
  reply_attempts: { status_code: number | null; error: string | null }[];
  reply_next_attempt_at: number | null;
}
interface Said {
  usage: { input_tokens: number; input_tokens_details: { cached_tokens: number } };
  instructions: string | null;
  output: { content: { text: string }[] }[];
}

let server: TestServer;
let receiver: Receiver;
let admin: Admin;
let tenant: string;
let key: { id: string; secret: string };
let other: { secret: string };
beforeAll(async () => {
  receiver = await startReceiver((request, response) => {
    response.writeHead(request.url === "/never" ? 500 : 204).end();
  });
  server = await startServer({ environment: { WEBHOOKS_DEVELOPMENT: "1", ADMIN_KEY: "administrators" } });
  admin = administrator(server.url, "administrators");
  tenant = (await admin.createTenant("Ada")).id;
  key = await admin.createKey(tenant, { name: "k" });
  other = await admin.createKey((await admin.createTenant("Tom")).id, { name: "k" });
});
afterAll(async () => {
  receiver.stop();
  await server.stop();
});

const call = (method: string, path: string, body?: object, secret = key.secret) =>
  fetch(`${server.url}/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${secret}` },
    ...(body && { body: JSON.stringify(body) }),
  });
async function ask<T>(method: string, path: string, body?: object, secret = key.secret): Promise<T> {
  const answer = await call(method, path, body, secret);
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as T;
}
const settings = { model: "pocket", max_output_tokens: 8 };
const create = (body: object, secret?: string) => ask<Hook>("POST", "/hooks", { ...settings, ...body }, secret);
const post = (url: string, { headers, body }: SignedPost) => fetch(url, { method: "POST", headers, body });
async function deliveries({ id }: Hook): Promise<Delivery[]> {
  return (await ask<{ data: Delivery[] }>("GET", `/hooks/${id}/deliveries`)).data;
}
/** The newest so many deliveries, when all of them are over; the first of them first. */
async function ended(hook: Hook, count: number): Promise<Delivery[]> {
  const isOver = async () => {
    const all = await deliveries(hook);
    return all.length === count && all.every(({ status }) => !["queued", "in_progress"].includes(status));
  };
  await expect.poll(isOver, { timeout: 30_000 }).toBe(true);
  return (await deliveries(hook)).toReversed();
}
const cached = async ({ response }: Delivery) => {
  const { usage } = await ask<Said>("GET", `/responses/${response}`);
  return usage.input_tokens_details.cached_tokens;
};
const inputs = async ({ conversation }: Delivery) => {
  const { data } = await ask<{ data: { role: string; content: { text: string }[] }[] }>(
    "GET",
    `/conversations/${conversation}/items?order=asc`,
  );
  return data.filter(({ role }) => role !== "assistant").map(({ content }) => content[0]?.text);
};
const callbackOf = ({ body }: Received) =>
  JSON.parse(body) as { id: string; type: string; data: Record<string, string> };

describe("a generic post", () => {
  it("runs a turn; the next one with its key goes on with the conversation, and replies are signed", async () => {
    const hook = await create({
      input: "{{ customer.name }} says: {{ text }}",
      conversation_key: "{{ customer.id }}",
      instructions: "You are kind.",
      verification: { type: "standard" },
      reply: { type: "callback", url: `${receiver.url}/generic` },
    });
    expect(hook.url).toBe(`${server.url}/v1/hooks/${hook.id}`);
    const said = (id: number, text: string) => ({ customer: { id, name: "Ada" }, text });
    const first = await post(hook.url, standardPost(hook.secret, said(1, "Hello!"), "msg_1"));
    expect(first.status).toBe(202);
    expect(await first.json()).toEqual({ id: "msg_1", object: "hook.delivery", status: "queued" });
    const second = await post(hook.url, standardPost(hook.secret, said(1, "And again."), "msg_2"));
    expect(second.status).toBe(202);
    await post(hook.url, standardPost(hook.secret, said(2, "I am another."), "msg_3"));
    const [one, two, three] = (await ended(hook, 3)) as [Delivery, Delivery, Delivery];
    for (const each of [one, two, three]) expect(each).toMatchObject({ status: "completed", error: null });
    expect(two.conversation).toBe(one.conversation);
    expect(three.conversation).not.toBe(one.conversation);
    expect(await cached(two)).toBeGreaterThan(0);
    expect(await inputs(one)).toEqual(["You are kind.", "Ada says: Hello!", "Ada says: And again."]);

    await expect.poll(() => receiver.at("/generic").length).toBe(3);
    for (const came of receiver.at("/generic")) {
      new Webhook(hook.signing_secret).verify(came.body, came.headers);
      expect(came.body.length).toBeLessThan(20_000);
      const { id, type, data } = callbackOf(came);
      expect(came.headers["webhook-id"]).toBe(id);
      expect(type).toBe("hook.replied");
      const delivery = [one, two, three].find(({ id: each }) => each === data["delivery_id"])!;
      const { output } = await ask<Said>("GET", `/responses/${delivery.response}`);
      const { conversation, response } = delivery;
      const text = output[0]?.content[0]?.text;
      expect(data).toEqual({ hook: hook.id, delivery_id: delivery.id, conversation, response, text });
    }
    await expect.poll(async () => (await deliveries(hook)).every(({ reply }) => reply === "delivered")).toBe(true);
    const [{ reply_attempts: attempts, reply_next_attempt_at: next }] = (await deliveries(hook)) as [Delivery];
    expect([attempts, next]).toEqual([[expect.objectContaining({ status_code: 204, error: null })], null]);
    // Each turn is charged to the key that made the hook.
    await expect.poll(async () => (await admin.usage(tenant)).data).toMatchObject([{ key: "key_1", requests: 3 }]);
    await ask("DELETE", `/hooks/${hook.id}`);
    expect((await post(hook.url, standardPost(hook.secret, said(1, "Hello!")))).status).toBe(401);
  });

  it("whose reply is not taken shows the attempts, and when the next one is due", async () => {
    const reply = { type: "callback", url: `${receiver.url}/never` };
    const hook = await create({ input: "{{ text }}", verification: { type: "standard" }, reply });
    await post(hook.url, standardPost(hook.secret, { text: "Hello!" }));
    await ended(hook, 1);
    await expect.poll(async () => (await deliveries(hook))[0]?.reply_attempts.length).toBeGreaterThan(0);
    const [one] = (await deliveries(hook)) as [Delivery];
    expect(one).toMatchObject({ status: "completed", reply: "pending", reply_attempts: [{ status_code: 500 }] });
    expect(one.reply_next_attempt_at).toBeGreaterThanOrEqual(Math.floor(Date.now() / 1000));
  });

  it("is known by either secret while they rotate, and by the new one alone after that", async () => {
    const hook = await create({ input: "{{ text }}", verification: { type: "standard" } });
    const status = async (secret: string) => (await post(hook.url, standardPost(secret, {}))).status;
    const rotate = (body: object) => ask<Hook>("POST", `/hooks/${hook.id}/rotate_secret`, body);
    const { secret: second } = await rotate({});
    expect([await status(hook.secret), await status(second)]).toEqual([202, 202]);
    const { secret: third } = await rotate({ grace_seconds: 0 });
    expect([await status(hook.secret), await status(second), await status(third)]).toEqual([401, 401, 202]);
    // They had nothing to say.
    expect((await deliveries(hook)).map(({ status: each }) => each)).toEqual(["ignored", "ignored", "ignored"]);
  });

  it("that comes again is the same delivery, at once as well as later", async () => {
    const hook = await create({ input: "{{ text }}", verification: { type: "standard" } });
    const same = standardPost(hook.secret, { text: "Hello!" }, "msg_same");
    const answers = await Promise.all(Array.from({ length: 5 }, () => post(hook.url, same)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(202));
    const [one] = (await ended(hook, 1)) as [Delivery];
    const again = await post(hook.url, same);
    expect(await again.json()).toEqual({ id: "msg_same", object: "hook.delivery", status: "completed" });
    expect(await inputs(one)).toEqual(["Hello!"]);
  });
});

describe("a GitHub issue comment", () => {
  const secret = "It is a secret to everybody";
  const comment = (number: number, body: string, action = "created") => ({
    action,
    issue: { number, title: "A bug" },
    comment: { id: Math.floor(Math.random() * 1e9), body, user: { login: "ada" } },
    repository: { full_name: "ada/griffin" },
  });

  it("runs a turn in the conversation of its issue, once however it is named", async () => {
    const hook = await create({
      input: '{% if action == "created" %}@{{ comment.user.login }}: {{ comment.body }}{% endif %}',
      conversation_key: "{{ repository.full_name }}#{{ issue.number }}",
      verification: { type: "github", secret },
      reply: { type: "callback", url: `${receiver.url}/github` },
    });
    expect(hook).not.toHaveProperty("secret");
    const first = comment(7, "It is broken.");
    expect((await post(hook.url, githubPost(secret, first, "d-1"))).status).toBe(202);
    expect((await post(hook.url, githubPost(secret, first, "d-1"))).status).toBe(202);
    // Nothing signs the delivery's id: whoever saw a post cannot have it run again under another.
    expect(await (await post(hook.url, githubPost(secret, first, "d-forged"))).json()).toMatchObject({ id: "d-1" });
    expect((await post(hook.url, githubPost(secret, comment(7, "Edited.", "edited"), "d-2"))).status).toBe(202);
    expect((await post(hook.url, githubPost(secret, comment(7, "Any news?"), "d-3"))).status).toBe(202);
    const all = await ended(hook, 3);
    expect(all.map(({ id, status }) => [id, status])).toEqual([
      ["d-1", "completed"],
      ["d-2", "ignored"],
      ["d-3", "completed"],
    ]);
    const [one, , three] = all as [Delivery, Delivery, Delivery];
    expect(three.conversation).toBe(one.conversation);
    expect(await cached(three)).toBeGreaterThan(0);
    expect(await inputs(one)).toEqual(["@ada: It is broken.", "@ada: Any news?"]);
    await expect.poll(() => receiver.at("/github").length).toBe(2);
  });
});

describe("a Slack command", () => {
  const secret = "8f742231b10e8888abcd99yyyzzz85a5";
  const command = (text: string, path = "/slack") => ({
    command: "/griffin",
    text,
    channel_id: "C1",
    trigger_id: String(Math.random()),
    response_url: `${receiver.url}${path}`,
  });

  it("runs a turn in the conversation of its channel, and the reply goes to response_url", async () => {
    const hook = await create({
      input: "{{ text }}",
      conversation_key: "{{ channel_id }}",
      verification: { type: "slack", secret },
      reply: { type: "slack" },
    });
    const challenge = {
      type: "url_verification",
      token: "t",
      challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
    };
    const asked = await post(hook.url, slackPost(secret, challenge));
    expect([asked.status, await asked.json()]).toEqual([200, { challenge: challenge.challenge }]);
    for (const text of ["Hello!", "And now?"]) {
      const answer = await post(hook.url, slackPost(secret, command(text)));
      // Slack would show its users whatever stands there.
      expect([answer.status, await answer.text()]).toEqual([200, ""]);
    }
    const [one, two] = (await ended(hook, 2)) as [Delivery, Delivery];
    expect(two.conversation).toBe(one.conversation);
    expect(await cached(two)).toBeGreaterThan(0);
    await expect.poll(() => receiver.at("/slack").length).toBe(2);
    for (const { body } of receiver.at("/slack")) expect(Object.keys(JSON.parse(body) as object)).toEqual(["text"]);
    expect(await inputs(one)).toEqual(["Hello!", "And now?"]);
  });

  it("that comes as an event again, with another time, is one delivery", async () => {
    const hook = await create({
      input: "{{ event.text }}",
      verification: { type: "slack", secret },
      reply: { type: "slack" },
    });
    const event = { type: "event_callback", event_id: "Ev1", event: { type: "app_mention", text: "Hello!" } };
    await post(hook.url, slackPost(secret, event, new Date(Date.now() - 60_000)));
    await post(hook.url, slackPost(secret, event));
    const [one] = (await ended(hook, 1)) as [Delivery];
    expect(one).toMatchObject({ id: "Ev1", status: "completed", reply: "no_address" });
  });
});

describe("what is not signed by who should", () => {
  it("is refused in one way whether there is such a hook or not, and appends nothing", async () => {
    const github = { type: "github", secret: "0123456789abcdef" };
    const slack = { type: "slack", secret: "0123456789abcdef0123456789abcdef" };
    const hooks = {
      standard: await create({ input: "{{ text }}", verification: { type: "standard" } }),
      github: await create({ input: "{{ text }}", verification: github }),
      slack: await create({ input: "{{ text }}", verification: slack }),
    };
    const payload = { text: "Hello!" };
    const old = new Date(Date.now() - 310_000);
    const early = new Date(Date.now() + 310_000);
    const { secret } = hooks.standard;
    const forged = (signed: SignedPost): SignedPost => ({ ...signed, body: signed.body.replace("Hello", "HELLO") });
    const without = ({ headers, body }: SignedPost, name: string): SignedPost => ({
      headers: Object.fromEntries(Object.entries(headers).filter(([each]) => each !== name)),
      body,
    });
    const mine = standardPost(secret, payload);
    const refusals: [string, SignedPost][] = [
      [hooks.standard.url, forged(mine)],
      [hooks.standard.url, standardPost(secret, payload, "m", old)],
      [hooks.standard.url, standardPost(secret, payload, "m", early)],
      [hooks.standard.url, standardPost(`whsec_${btoa("x".repeat(32))}`, payload)],
      [hooks.standard.url, { ...mine, headers: { ...mine.headers, "webhook-id": "another" } }],
      [hooks.standard.url, { ...mine, headers: { ...mine.headers, "webhook-signature": "v1,!!! v1, v2,x" } }],
      ...Object.keys(mine.headers)
        .slice(1)
        .map((name): [string, SignedPost] => [hooks.standard.url, without(mine, name)]),
      [hooks.standard.url, { headers: {}, body: "" }],
      [hooks.standard.url, githubPost(secret, payload)],
      [hooks.github.url, forged(githubPost(github.secret, payload))],
      [hooks.github.url, githubPost(`${github.secret}0`, payload)],
      [hooks.github.url, without(githubPost(github.secret, payload), "x-hub-signature-256")],
      [hooks.slack.url, forged(slackPost(slack.secret, payload))],
      [hooks.slack.url, slackPost(slack.secret, payload, old)],
      [hooks.slack.url, slackPost("another secret of theirs", payload)],
      [hooks.slack.url, slackPost("another secret of theirs", { type: "url_verification", challenge: "c" })],
      [`${server.url}/v1/hooks/hook_${"a".repeat(32)}`, mine],
      [`${server.url}/v1/hooks/nobody`, mine],
    ];
    const said = new Set<string>();
    for (const [url, signed] of refusals) {
      const answer = await post(url, signed);
      expect(answer.status, `${url} ${JSON.stringify(signed)}`).toBe(401);
      said.add(await answer.text());
    }
    expect(said.size).toBe(1);
    for (const hook of Object.values(hooks)) expect(await deliveries(hook)).toEqual([]);
  });

  it("is refused where it is too large or nothing that can be read", async () => {
    const hook = await create({
      input: "{{ text }}",
      conversation_key: "{{ key }}",
      verification: { type: "standard" },
    });
    const status = async (payload: object) => (await post(hook.url, standardPost(hook.secret, payload))).status;
    expect(await status({ text: "x".repeat(2 ** 18) })).toBe(413);
    expect(await status(["Hello!"])).toBe(400);
    expect(await status({ text: "Hello!" })).toBe(400);
    expect(await status({ text: "Hello!", key: "k".repeat(257) })).toBe(400);
    expect(await status({ text: "x".repeat(100_001), key: "k" })).toBe(400);
    expect(await deliveries(hook)).toEqual([]);
  });

  it("has no other door: everything but the post itself needs a key", async () => {
    const hook = await create({ input: "{{ text }}", verification: { type: "standard" } });
    const routes = [
      ["GET", "/hooks"],
      ["POST", "/hooks"],
      ["POST", "/hooks/"],
      ["GET", `/hooks/${hook.id}`],
      ["PATCH", `/hooks/${hook.id}`],
      ["DELETE", `/hooks/${hook.id}`],
      ["POST", `/hooks/${hook.id}/`],
      ["POST", `/hooks/${hook.id}/rotate_secret`],
      ["GET", `/hooks/${hook.id}/deliveries`],
    ] as const;
    for (const [method, path] of routes) {
      expect((await call(method, path, undefined, "nobody")).status, `${method} ${path}`).toBe(401);
    }
    for (const [method, path] of routes.slice(3).filter(([, each]) => !each.endsWith("/"))) {
      const body = method === "GET" ? undefined : {};
      expect((await call(method, path, body, other.secret)).status, `${method} ${path}`).toBe(404);
    }
    expect(await ask("GET", "/hooks", undefined, other.secret)).toMatchObject({ data: [] });
  });
});

describe("the key that made a hook", () => {
  it("holds its turns to its limits: they wait, and none is lost", async () => {
    const { id } = await admin.createTenant("Max");
    const { secret } = await admin.createKey(id, { name: "k", limits: { concurrency: 1 } });
    const body = { input: "{{ text }}", conversation_key: "{{ key }}", max_output_tokens: 60 };
    const reply = { type: "callback", url: `${receiver.url}/limited` };
    const hook = await create({ ...body, verification: { type: "standard" }, reply }, secret);
    for (let i = 0; i < 4; i++) await post(hook.url, standardPost(hook.secret, { key: `k${i}`, text: "Hello!" }));
    await expect.poll(() => receiver.at("/limited").length, { timeout: 20_000 }).toBe(4);
    for (const came of receiver.at("/limited")) expect(callbackOf(came).type).toBe("hook.replied");
    await expect.poll(async () => (await admin.usage(id)).data).toMatchObject([{ key: "key_1", requests: 4 }]);
    // A limit that no turn fits into is said at once.
    const narrow = await admin.createKey(id, { name: "n", limits: { tokens_per_minute: 10 } });
    const small = await create({ ...body, verification: { type: "standard" }, reply }, narrow.secret);
    await post(small.url, standardPost(small.secret, { key: "k", text: "Hello!" }));
    await expect.poll(() => receiver.at("/limited").length, { timeout: 20_000 }).toBe(5);
    expect(callbackOf(receiver.at("/limited")[4]!)).toMatchObject({ type: "hook.failed", data: { response: null } });
  });

  it("opens it no more when it is revoked, and the tenant takes all with it", async () => {
    const { id } = await admin.createTenant("Eve");
    const made = await admin.createKey(id, { name: "k" });
    const body = { input: "{{ text }}", verification: { type: "standard" } };
    const hook = await create(body, made.secret);
    const status = async () => (await post(hook.url, standardPost(hook.secret, { text: "Hi." }))).status;
    expect(await status()).toBe(202);
    const authorization = "Bearer administrators";
    const remove = (path: string) =>
      fetch(`${server.url}/v1/admin/tenants/${id}${path}`, { method: "DELETE", headers: { authorization } });
    const shown = async (secret: string) => ask<{ data: object[] }>("GET", "/hooks", undefined, secret);
    expect((await shown(made.secret)).data).toMatchObject([{ status: "open", closed_reason: null }]);
    const second = await admin.createKey(id, { name: "second" });
    await remove(`/keys/${made.id}`);
    expect(await status()).toBe(401);
    expect((await shown(second.secret)).data).toMatchObject([{ status: "closed", closed_reason: "key_revoked" }]);
    await remove("");
    expect(await status()).toBe(401);
  });
});

describe("a hook", () => {
  it("is listed, changed, and refused where something is wrong with it", async () => {
    const hook = await create({ name: "mine", input: "{{ text }}", verification: { type: "standard" } });
    const found = await ask<object>("GET", `/hooks/${hook.id}`);
    expect(JSON.stringify(found)).not.toContain(hook.secret.slice(6));
    expect(found).toMatchObject({ object: "hook", name: "mine", model: "pocket", reply: { type: "none", url: null } });
    const reply = { type: "callback", url: `${receiver.url}/changed` };
    const changed = await ask<Hook>("PATCH", `/hooks/${hook.id}`, { input: "Say: {{ text }}", reply });
    expect(changed).toMatchObject({ name: "mine", input: "Say: {{ text }}", max_output_tokens: 8, reply });
    await post(hook.url, standardPost(hook.secret, { text: "Hi." }));
    await expect.poll(() => receiver.at("/changed").length, { timeout: 20_000 }).toBe(1);
    const [came] = receiver.at("/changed") as [Received];
    new Webhook(changed.signing_secret).verify(came.body, came.headers);
    // Slack looks at no signature of ours; a callback after it has a secret that somebody has seen.
    for (const [type, isShown] of [
      ["slack", false],
      ["callback", true],
      ["callback", false],
      ["none", false],
    ] as const) {
      const to = type === "callback" ? reply : { type };
      const said = await ask<object>("PATCH", `/hooks/${hook.id}`, { reply: to });
      expect("signing_secret" in said, type).toBe(isShown);
      const hint = type === "callback" ? expect.stringMatching(/^whsec_….{4}$/) : null;
      expect(said).toMatchObject({ signing_secret_hint: hint });
    }
    const { data } = await ask<{ data: { id: string }[] }>("GET", "/hooks?limit=1");
    expect(data.map(({ id }) => id)).toEqual([hook.id]);

    const verification = { type: "standard" };
    const wrong: [object, string][] = [
      [{ input: "{{ text", verification }, "input"],
      [{ input: "{% for a in b %}{% endfor %}", verification }, "input"],
      [{ input: "{{ text | nothing }}", verification }, "input"],
      [{ input: "a", conversation_key: "{% include 'a' %}", verification }, "conversation_key"],
      [{ input: "a", verification: { type: "slack" } }, "verification.secret"],
      [{ input: "a", verification: { type: "standard", secret: "short" } }, "verification.secret"],
      [{ input: "a", verification, reply: { type: "callback", url: "ftp://example.com" } }, "reply.url"],
      [{ input: "a", verification, model: "nobody" }, "model"],
      [{ input: "a", verification, callback: "https://example.com" }, "callback"],
    ];
    for (const [body, param] of wrong) {
      const answer = await call("POST", "/hooks", body);
      const { error } = (await answer.json()) as { error: { param: string } };
      expect([answer.status, error.param]).toEqual([param === "model" ? 404 : 400, param]);
    }
  });
});
