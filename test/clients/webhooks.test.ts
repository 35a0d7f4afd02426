// Webhooks out over HTTP: OpenAI's client makes and drives endpoints, real receivers get real deliveries, and both
// OpenAI's client and the standard's own library know them by their signatures.
import OpenAI from "openai";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventTypes } from "../../src/outbox/events.ts";
import { hosts } from "../outbox/address-cases.ts";
import { administrator } from "../serve/administrator.ts";
import { checkShape } from "./openai-shapes.ts";
import { startReceiver, type Received, type Receiver } from "../serve/receiver.ts";
import { startServer, type TestServer } from "../server.ts";

let server: TestServer;
let receiver: Receiver;
let client: OpenAI;
let other: OpenAI;
beforeAll(async () => {
  receiver = await startReceiver((request, response) => {
    const what = /\/(\w+)$/.exec(request.url ?? "")?.[1] ?? "";
    if (what === "drop") return void request.socket.destroy();
    if (what === "hang") return;
    if (what === "slow") return void setTimeout(() => response.writeHead(200).end(), 1_500);
    const headers = what === "302" ? { location: `${receiver.url}/redirected` } : {};
    response.writeHead(/^\d+$/.test(what) ? Number(what) : 204, headers).end("x".repeat(10_000));
  });
  server = await startServer({ environment: { WEBHOOKS_DEVELOPMENT: "1", ADMIN_KEY: "administrators" } });
  const admin = administrator(server.url, "administrators");
  const clients: OpenAI[] = [];
  for (const name of ["Ada", "Tom"]) {
    const { secret } = await admin.createKey((await admin.createTenant(name)).id, { name });
    clients.push(new OpenAI({ apiKey: secret, baseURL: `${server.url}/v1`, maxRetries: 0 }));
  }
  [client, other] = clients as [OpenAI, OpenAI];
});
afterAll(async () => {
  receiver.stop();
  await server.stop();
});

const respond = (change: object = {}) =>
  client.responses.create({ model: "pocket", input: "Hello!", max_output_tokens: 4, temperature: 0, ...change });

interface Delivery {
  id: string;
  type: string;
  status: string;
  next_attempt_at: number | null;
  attempts: { status_code: number | null; error: string | null; duration_ms: number }[];
}
const deliveries = async (id: string) => {
  const { data } = await client.get<{ data: Delivery[] }>(`/webhook_endpoints/${id}/deliveries`);
  return data;
};

/** Whether both libraries know a delivery by a secret. */
async function isKnown({ body, headers }: Received, secret: string): Promise<boolean> {
  const standard = (() => {
    try {
      return new Webhook(secret).verify(body, headers) as { id: string };
    } catch {
      return null;
    }
  })();
  const unwrapped = await client.webhooks.unwrap(body, headers, secret).catch(() => null);
  expect(standard).toEqual(unwrapped);
  return unwrapped !== null;
}

describe("an endpoint", () => {
  it("is made, found, changed and deleted by OpenAI's client", async () => {
    const url = `${receiver.url}/crud`;
    const made = await client.webhooks.create({ name: "mine", url, event_types: ["response.completed"] });
    expect(made).toMatchObject({ object: "webhook_endpoint", name: "mine", url, event_types: ["response.completed"] });
    expect(made.signing_secret).toMatch(/^whsec_/);
    const found = await client.webhooks.retrieve(made.id);
    expect(found).not.toHaveProperty("signing_secret");
    expect(found.signing_secret_hint).toBe(`whsec_…${made.signing_secret.slice(-4)}`);
    const changed = await client.webhooks.update(made.id, { name: "still mine", event_types: ["batch.completed"] });
    expect(changed).toMatchObject({ id: made.id, name: "still mine", url, event_types: ["batch.completed"] });
    const more = await client.webhooks.create({ name: "two", url, event_types: ["response.failed"] });
    const listed: string[] = [];
    for await (const { id } of client.webhooks.list({ limit: 1 })) listed.push(id);
    expect(listed.toSorted()).toEqual([made.id, more.id].toSorted());
    expect((await client.webhooks.eventTypes.list()).data).toEqual(eventTypes);
    for (const id of listed) {
      expect(await client.webhooks.delete(id)).toEqual({ id, object: "webhook_endpoint.deleted", deleted: true });
      await expect(client.webhooks.retrieve(id)).rejects.toMatchObject({ status: 404 });
    }
  });

  it("is told of responses, by signatures that hold before, while and after its secret rotates", async () => {
    const path = "/rotating/204";
    const all = { name: "all", url: `${receiver.url}${path}`, event_types: [...eventTypes] };
    const { id, signing_secret: first } = await client.webhooks.create(all as never);
    const next = async (change: object = {}) => {
      const seen = receiver.at(path).length;
      const { id: response } = await respond(change);
      await expect.poll(() => receiver.at(path).length, { timeout: 10_000 }).toBe(seen + 1);
      const came = receiver.at(path).at(-1) as Received;
      expect(JSON.parse(came.body)).toMatchObject({ object: "event", data: { id: response } });
      checkShape("webhookEvent", JSON.parse(came.body));
      expect(came.body.length).toBeLessThan(20_000);
      return came;
    };
    const knows = async (came: Received, ...secrets: string[]) =>
      Promise.all(secrets.map((secret) => isKnown(came, secret)));
    const before = await next();
    expect(JSON.parse(before.body)).toMatchObject({ type: "response.incomplete" });
    expect(await knows(before, first)).toEqual([true]);

    const { signing_secret: second } = await client.webhooks.rotateSecret(id, {
      keep_old_secret_active_for_24_hours: true,
    });
    const during = await next({ background: true, max_output_tokens: 200 });
    expect(JSON.parse(during.body)).toMatchObject({ type: "response.completed" });
    expect(await knows(during, first, second)).toEqual([true, true]);

    const { signing_secret: third } = await client.webhooks.rotateSecret(id, {
      keep_old_secret_active_for_24_hours: false,
    });
    expect(await knows(await next(), first, second, third)).toEqual([false, false, true]);
    const log = await deliveries(id);
    expect(log).toHaveLength(3);
    for (const delivery of log)
      expect(delivery).toMatchObject({ status: "delivered", attempts: [{ status_code: 204 }] });
    await client.webhooks.delete(id);
  });

  it("is told of nothing that is no response: chat completions, items, responses that are not kept", async () => {
    const path = "/quiet/204";
    const { id } = await client.webhooks.create({ name: "q", url: `${receiver.url}${path}` } as never);
    const messages = [{ role: "user" as const, content: "Hello!" }];
    await client.chat.completions.create({ model: "pocket", messages, max_tokens: 2 });
    const { id: conversation } = await client.conversations.create({
      items: [{ type: "message", role: "user", content: "Hi." }],
    });
    await respond({ store: false });
    await respond({ conversation });
    await expect.poll(() => receiver.at(path).length).toBe(1);
    expect(await deliveries(id)).toHaveLength(1);
    await client.webhooks.delete(id);
  });

  it("can be tested, and replayed to", async () => {
    const { id } = await client.webhooks.create({
      name: "t",
      url: `${receiver.url}/tested/202`,
      event_types: ["response.completed"],
    });
    expect(await client.webhooks.test(id, { event_type: "batch.completed" })).toMatchObject({
      object: "webhook_endpoint.test",
      event_type: "batch.completed",
      webhook_endpoint_id: id,
      success: true,
      status_code: 202,
    });
    const [delivery] = await deliveries(id);
    const again = await client.post<Delivery>(`/webhook_endpoints/${id}/deliveries/${delivery?.id}/replay`);
    expect(again).toMatchObject({ id: delivery?.id, status: "pending" });
    await expect.poll(async () => (await deliveries(id))[0]?.attempts.length).toBe(2);
    const { id: response } = await client.responses.create({ model: "pocket", input: "Hello!" });
    await expect.poll(async () => (await deliveries(id))[0]?.attempts.length).toBe(1);
    const to = Math.ceil(Date.now() / 1000);
    const replay = (body: object) => client.post<object>(`/webhook_endpoints/${id}/replay`, { body });
    expect(await replay({ from: to - 60, to })).toMatchObject({ count: 1 });
    expect(await replay({ from: 0, to: 1 })).toMatchObject({ count: 0 });
    await expect.poll(async () => (await deliveries(id))[0]?.attempts.length).toBe(2);
    // Twice each: what a test sent is not part of a time.
    const [test, told] = [delivery?.id, `evt_${response}`];
    expect(receiver.at("/tested/202").map(({ headers }) => headers["webhook-id"])).toEqual([test, test, told, told]);
    const nobody = client.post(`/webhook_endpoints/${id}/deliveries/evt_nobody/replay`);
    await expect(nobody).rejects.toMatchObject({ status: 404 });
    await client.post(`/webhook_endpoints/${id}`, { body: { status: "disabled" } });
    await expect(replay({ from: 0, to })).rejects.toMatchObject({ status: 400 });
    await client.webhooks.delete(id);
  });

  it("of another tenant is as unknown as one that nobody made", async () => {
    const { id } = await client.webhooks.create({ name: "x", url: `${receiver.url}/x`, event_types: ["batch.failed"] });
    const asked = (of: string) => [
      () => other.webhooks.retrieve(of),
      () => other.webhooks.update(of, { name: "taken" }),
      () => other.webhooks.rotateSecret(of),
      () => other.webhooks.test(of, { event_type: "batch.failed" }),
      () => other.get(`/webhook_endpoints/${of}/deliveries`),
      () => other.post(`/webhook_endpoints/${of}/deliveries/evt_x/replay`),
      () => other.post(`/webhook_endpoints/${of}/replay`, { body: { from: 0, to: 1 } }),
      () => other.webhooks.delete(of),
    ];
    const said = async (ask: () => Promise<unknown>) =>
      ask().then(
        () => "it answered",
        ({ status, message }: { status: number; message: string }) => `${status} ${message}`,
      );
    const nobody = asked(id.replace(/.$/, "0"));
    for (const [i, ask] of asked(id).entries()) {
      const answer = await said(ask);
      expect(answer).toMatch(/^404 /);
      expect(answer).toBe(await said(nobody[i] ?? ask));
    }
    expect((await other.webhooks.list()).data).toEqual([]);
    expect((await client.webhooks.retrieve(id)).name).toBe("x");
    await client.webhooks.delete(id);
  });
});

describe("a tenant that is deleted", { timeout: 30_000 }, () => {
  it("is told nothing more", async () => {
    const admin = administrator(server.url, "administrators");
    const { id } = await admin.createTenant("Eve");
    const { secret } = await admin.createKey(id, { name: "k" });
    const eve = new OpenAI({ apiKey: secret, baseURL: `${server.url}/v1`, maxRetries: 0 });
    await eve.webhooks.create({ name: "e", url: `${receiver.url}/eve/500` } as never);
    await eve.responses.create({ model: "pocket", input: "Hi.", max_output_tokens: 2 });
    await expect.poll(() => receiver.at("/eve/500").length).toBe(1);
    const authorization = "Bearer administrators";
    await fetch(`${server.url}/v1/admin/tenants/${id}`, { method: "DELETE", headers: { authorization } });
    await new Promise((resolve) => void setTimeout(resolve, 6_500));
    expect(receiver.at("/eve/500")).toHaveLength(1);
  });
});

describe("receivers that do not take it", { timeout: 90_000 }, () => {
  it("are logged as what they did, come again by the schedule, and hold up no other", async () => {
    const kinds = ["500", "302", "410", "drop", "hang", "slow", "204"];
    const ids = new Map<string, string>();
    for (const kind of kinds) {
      const url = `${receiver.url}/bad/${kind}`;
      ids.set(kind, (await client.webhooks.create({ name: kind, url } as never)).id);
    }
    const log = async (kind: string) =>
      (await deliveries(ids.get(kind) ?? "")).find(({ type }) => type === "response.incomplete");
    const startMs = Date.now();
    await respond();
    await expect.poll(() => receiver.at("/bad/204").length, { timeout: 5_000 }).toBeGreaterThan(0);
    expect((receiver.at("/bad/204")[0]?.atMs ?? Infinity) - startMs).toBeLessThan(3_000);
    expect((await log("hang"))?.attempts).toEqual([]);
    await expect.poll(async () => (await log("hang"))?.attempts.length, { timeout: 40_000 }).toBe(1);
    const first = async (kind: string) => {
      const { attempts = [], status, next_attempt_at: next } = (await log(kind)) ?? {};
      return { status, isComing: next !== null, ...attempts[0] };
    };
    expect(await first("hang")).toMatchObject({
      status: "pending",
      isComing: true,
      status_code: null,
      error: "timeout",
    });
    expect(await first("drop")).toMatchObject({ status: "pending", status_code: null, error: "connection_failed" });
    expect(await first("500")).toMatchObject({ status: "pending", isComing: true, status_code: 500, error: null });
    expect(await first("302")).toMatchObject({ status: "pending", isComing: true, status_code: 302, error: null });
    expect(await first("410")).toMatchObject({ status: "failed", isComing: false, status_code: 410 });
    expect(await first("slow")).toMatchObject({ status: "delivered", isComing: false, status_code: 200 });
    // The second attempt comes after five seconds, under the same id, newly signed.
    for (const kind of ["500", "302", "drop"]) {
      const [one, two] = receiver.at(`/bad/${kind}`).filter(({ body }) => body.includes("response."));
      expect(two?.headers["webhook-id"]).toBe(one?.headers["webhook-id"]);
      expect(Number(two?.headers["webhook-timestamp"])).toBeGreaterThan(Number(one?.headers["webhook-timestamp"]));
      expect((two?.atMs ?? 0) - (one?.atMs ?? 0)).toBeGreaterThan(4_000);
      expect((two?.atMs ?? Infinity) - (one?.atMs ?? 0)).toBeLessThan(12_000);
    }
    expect(receiver.at("/redirected")).toEqual([]);
    const gone = await client.webhooks.retrieve(ids.get("410") ?? "");
    expect(gone).toMatchObject({ status: "disabled", disabled_reason: "gone" });
    const notices = receiver.at("/bad/204").filter(({ body }) => body.includes("webhook_endpoint.disabled"));
    expect(notices.map(({ body }) => (JSON.parse(body) as { data: { id: string } }).data.id)).toEqual([gone.id]);
    for (const id of ids.values()) await client.webhooks.delete(id);
  });
});

describe("webhook_url", () => {
  it("tells of one response in the background, signed with the tenant's own secret", async () => {
    const url = `${receiver.url}/once/204`;
    const without = respond({ background: true, webhook_url: url });
    await expect(without).rejects.toMatchObject({ status: 400, param: "webhook_url" });
    const rotate = () => client.post<{ signing_secret: string }>("/webhook_signing_secret/rotate_secret", { body: {} });
    await expect(client.get("/webhook_signing_secret")).rejects.toMatchObject({ status: 404 });
    const { signing_secret: first } = await rotate();
    const { id } = await respond({ background: true, webhook_url: url });
    await expect.poll(() => receiver.at("/once/204").length).toBe(1);
    const { signing_secret: second } = await rotate();
    await respond({ background: true, webhook_url: url });
    await expect.poll(() => receiver.at("/once/204").length).toBe(2);
    const [one, two] = receiver.at("/once/204") as [Received, Received];
    expect(JSON.parse(one.body)).toMatchObject({ type: "response.incomplete", data: { id } });
    expect([await isKnown(one, first), await isKnown(one, second)]).toEqual([true, false]);
    expect([await isKnown(two, first), await isKnown(two, second)]).toEqual([true, true]);
    const shown = await client.get<object>("/webhook_signing_secret");
    expect(JSON.stringify(shown)).not.toContain(second.slice(6));
    await expect(respond({ webhook_url: url })).rejects.toMatchObject({ status: 400, param: "webhook_url" });
  });
});

describe("a server that is not in development", () => {
  let closed: TestServer;
  beforeAll(async () => void (closed = await startServer()));
  afterAll(() => closed.stop());

  const post = async (path: string, body: object) => {
    const answer = await fetch(`${closed.url}/v1${path}`, { method: "POST", body: JSON.stringify(body) });
    const { error } = (await answer.json()) as { error?: { param: string; message: string } };
    return { status: answer.status, param: error?.param, message: error?.message };
  };

  it("refuses every address that is not on the public internet, however it is spelled", async () => {
    const { status } = await post("/webhook_endpoints", { url: "https://hooks.example.com/a" });
    expect(status).toBe(200);
    const unknown = { url: "https://hooks.example.com/a", events: ["response.completed"] };
    expect(await post("/webhook_endpoints", unknown)).toMatchObject({ status: 400, param: "events" });
    await post("/webhook_signing_secret/rotate_secret", {});
    const spelled = [...hosts.map((host) => `https://${host}/`), `${receiver.url}/`, "http://hooks.example.com/"];
    for (const url of spelled) {
      expect(await post("/webhook_endpoints", { url }), url).toMatchObject({ status: 400, param: "url" });
      const body = { input: "Hi.", background: true, webhook_url: url };
      expect(await post("/responses", body), url).toMatchObject({ status: 400, param: "webhook_url" });
    }
  });
});
