// Files and batches as openai's client drives them, from the upload to the output; at a server that is open, and at one
// that asks for keys.
import OpenAI, { APIError, toFile } from "openai";
import type { Batch } from "openai/resources";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startDevServer, type DevServer } from "../dev-server.ts";
import { administrator, type Admin } from "../serve/administrator.ts";
import { startServer } from "../server.ts";
import { checkShape, compileShapes } from "./openai-shapes.ts";

type Endpoint = "/v1/responses" | "/v1/chat/completions" | "/v1/completions";

const line = (custom_id: string, url: Endpoint, body: object) =>
  JSON.stringify({ custom_id, method: "POST", url, body: { model: "pocket", temperature: 0, ...body } });
const clientOf = (server: DevServer, apiKey = "none") =>
  new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 });
const upload = async (client: OpenAI, lines: readonly string[]) =>
  client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "in.jsonl"), purpose: "batch" });

async function begin(client: OpenAI, endpoint: Endpoint, lines: readonly string[]): Promise<Batch> {
  const { id } = await upload(client, lines);
  return client.batches.create({ input_file_id: id, endpoint, completion_window: "24h" });
}

async function ended(client: OpenAI, { id }: Pick<Batch, "id">): Promise<Batch> {
  const isOver = ({ status }: Batch) => ["completed", "failed", "expired", "cancelled"].includes(status);
  await expect
    .poll(async () => isOver(await client.batches.retrieve(id)), { timeout: 40_000, interval: 200 })
    .toBe(true);
  return client.batches.retrieve(id);
}

interface Line {
  id: string;
  custom_id: string | null;
  response: { status_code: number; request_id: string; body: Record<string, unknown> } | null;
  error: { code: string; message: string } | null;
}

async function linesOf(client: OpenAI, file: string | undefined): Promise<Line[]> {
  if (file === undefined) return [];
  const text = await (await client.files.content(file)).text();
  return text
    .trimEnd()
    .split("\n")
    .map((each) => JSON.parse(each) as Line);
}

async function failureOf(answer: Promise<unknown>) {
  const error: unknown = await answer.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof APIError)) throw new Error(`no failure of the API: ${String(error)}`);
  const { status, code, param } = error;
  return { status, code, param };
}

describe("at an open server", () => {
  let server: DevServer;
  let client: OpenAI;
  beforeAll(async () => {
    compileShapes("file", "batch", "chatCompletion", "completion", "response");
    server = await startDevServer();
    client = clientOf(server);
  }, 90_000);
  afterAll(() => server.stop());

  it("a file is uploaded, listed, read and deleted", async () => {
    const text = [line("a", "/v1/completions", { prompt: "é" }), "x".repeat(6_000_000)];
    const file = await upload(client, text);
    checkShape("file", file);
    expect(file).toMatchObject({ filename: "in.jsonl", purpose: "batch", bytes: Buffer.byteLength(text.join("\n")) });
    expect(file.expires_at! - file.created_at).toBe(30 * 86_400);
    expect(await client.files.retrieve(file.id)).toEqual(file);
    expect(await (await client.files.content(file.id)).text()).toBe(text.join("\n"));
    const listed: string[] = [];
    for await (const each of client.files.list({ limit: 1 })) listed.push(each.id);
    expect(listed).toContain(file.id);
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: "file", deleted: true });
    expect(await failureOf(client.files.retrieve(file.id))).toMatchObject({ status: 404, code: "not_found" });
    expect(await failureOf(client.files.content(file.id))).toMatchObject({ status: 404 });
  });

  it("a file is kept as long as its uploader says, within what the server keeps", async () => {
    const short = await client.files.create({
      file: await toFile(Buffer.from("{}"), "ä.jsonl"),
      purpose: "batch",
      expires_after: { anchor: "created_at", seconds: 3_600 },
    });
    expect(short.expires_at! - short.created_at).toBe(3_600);
    expect(short.filename).toBe("ä.jsonl");
  });

  it("what is no upload is refused", async () => {
    const file = await toFile(Buffer.from("{}"), "a.jsonl");
    const other = client.files.create({ file, purpose: "fine-tune" });
    expect(await failureOf(other)).toEqual({ status: 400, code: "unsupported", param: "purpose" });
    const never = client.files.create({ file, purpose: "nonsense" as never });
    expect(await failureOf(never)).toMatchObject({ status: 400, param: "purpose" });
    const post = async (body: BodyInit, type?: string) => {
      const headers = type === undefined ? undefined : { "content-type": type };
      const answer = await fetch(`${server.url}/v1/files`, { method: "POST", body, headers });
      return [answer.status, ((await answer.json()) as { error: { code: string } }).error.code];
    };
    const form = new FormData();
    form.set("purpose", "batch");
    expect(await post(form)).toEqual([400, "invalid_argument"]);
    expect(await post("{}", "application/json")).toEqual([400, "invalid_argument"]);
    expect(await post("--x\r\ncut off", "multipart/form-data; boundary=x")).toEqual([400, "invalid_argument"]);
    const before = (await client.files.list()).data.length;
    const large = new FormData();
    large.set("purpose", "batch");
    large.set("file", new Blob([new Uint8Array(201 * 2 ** 20)]), "large.jsonl");
    expect(await post(large)).toEqual([413, "body_too_large"]);
    expect((await client.files.list()).data).toHaveLength(before);
  }, 60_000);

  it.each([
    ["/v1/chat/completions", "chatCompletion", { messages: [{ role: "user", content: "My name is Ada." }] }],
    ["/v1/completions", "completion", { prompt: "The fox" }],
    ["/v1/responses", "response", { input: "My name is Ada.", max_output_tokens: 9 }],
  ] as const)("a batch of %s is run, and answered as the requests themselves would be", async (url, shape, body) => {
    const bodies = [0, 1, 2].map((i) => ({ ...body, ...(url !== "/v1/responses" && { max_tokens: 8 + i }) }));
    const lines = bodies.map((each, i) => line(`r${i}`, url, each));
    const batch = await begin(client, url, [...lines, "not json", line("bad", url, { temperature: 9 })]);
    checkShape("batch", batch);
    expect(batch).toMatchObject({ status: "validating", endpoint: url, completion_window: "24h" });
    const done = await ended(client, batch);
    checkShape("batch", done);
    expect(done).toMatchObject({ status: "completed", request_counts: { total: 5, completed: 3, failed: 2 } });
    const output = await linesOf(client, done.output_file_id);
    expect(output.map(({ custom_id }) => custom_id).toSorted()).toEqual(["r0", "r1", "r2"]);
    for (const { response, error } of output) {
      expect([response?.status_code, error]).toEqual([200, null]);
      checkShape(shape, response?.body);
    }
    const errors = await linesOf(client, done.error_file_id);
    const [bad, noJson] = errors.toSorted((a) => (a.custom_id === null ? 1 : -1));
    expect(noJson).toMatchObject({ custom_id: null, response: null, error: { code: "invalid_json_line" } });
    const said = { error: { param: "temperature" } };
    expect(bad).toMatchObject({ custom_id: "bad", response: { status_code: 400, body: said }, error: null });
    expect(await client.files.retrieve(done.output_file_id!)).toMatchObject({
      purpose: "batch_output",
      filename: `${done.id}_output.jsonl`,
    });
    expect(await failureOf(client.batches.cancel(done.id))).toMatchObject({ status: 400 });
  });

  it("a response of a batch can be gone on from", async () => {
    const [first] = await linesOf(
      client,
      (
        await ended(
          client,
          await begin(client, "/v1/responses", [line("a", "/v1/responses", { input: "My name is Ada." })]),
        )
      ).output_file_id,
    );
    const previous_response_id = String(first?.response?.body["id"]);
    const next = await client.responses.create({
      model: "pocket",
      temperature: 0,
      previous_response_id,
      input: "What is my name?",
    });
    expect(next.output_text).toBe("Your name is Ada.");
  });

  it("batches are listed, cancelled, and begun once when the request comes twice", async () => {
    const endless = { prompt: "The fox", max_tokens: 300, logit_bias: { 1: -100, 5: -100 } };
    const lines = Array.from({ length: 200 }, (_, i) => line(`r${i}`, "/v1/completions", endless));
    const { id: input_file_id } = await upload(client, lines);
    const body = { input_file_id, endpoint: "/v1/completions" as const, completion_window: "24h" as const };
    const again = { headers: { "Idempotency-Key": `once ${input_file_id}` } };
    const batch = await client.batches.create(body, again);
    expect((await client.batches.create(body, again)).id).toBe(batch.id);
    await expect.poll(async () => (await client.batches.retrieve(batch.id)).status).toBe("in_progress");
    expect(await failureOf(client.files.delete(input_file_id))).toMatchObject({ status: 400 });
    expect((await client.batches.cancel(batch.id)).status).toBe("cancelling");
    const done = await ended(client, batch);
    expect(done.status).toBe("cancelled");
    const { total, completed } = done.request_counts!;
    expect([total, completed < 200]).toEqual([200, true]);
    expect(await linesOf(client, done.output_file_id)).toHaveLength(completed);
    const listed: string[] = [];
    for await (const each of client.batches.list({ limit: 2 })) listed.push(each.id);
    expect(listed[0]).toBe(batch.id);
    expect(new Set(listed).size).toBe(listed.length);
    await expect.poll(() => client.files.delete(input_file_id).catch(() => null)).toMatchObject({ deleted: true });
  });

  it("a batch of nothing, or of what is not there, is refused", async () => {
    const body = { endpoint: "/v1/completions", completion_window: "24h" } as const;
    const nowhere = client.batches.create({ ...body, input_file_id: `file-${"a".repeat(32)}` });
    expect(await failureOf(nowhere)).toEqual({ status: 404, code: "not_found", param: "input_file_id" });
    const { id: input_file_id } = await upload(client, ["{}"]);
    const other = client.batches.create({ ...body, input_file_id, endpoint: "/v1/embeddings" });
    expect(await failureOf(other)).toMatchObject({ status: 400, param: "endpoint" });
    expect(await failureOf(client.batches.retrieve(`batch_${"a".repeat(32)}`))).toMatchObject({ status: 404 });
    const { id: empty } = await upload(client, [""]);
    const failed = await ended(client, await client.batches.create({ ...body, input_file_id: empty }));
    expect(failed).toMatchObject({ status: "failed", errors: { object: "list", data: [{ code: "empty_file" }] } });
    checkShape("batch", failed);
  });
});

describe("at a server that asks for keys", () => {
  let server: DevServer;
  let admin: Admin;
  beforeAll(async () => {
    server = await startDevServer({ ADMIN_KEY: "administrators" });
    admin = administrator(server.url, "administrators");
  }, 90_000);
  afterAll(() => server.stop());

  async function customer(limits: object = {}) {
    const { id: tenant } = await admin.createTenant("t", limits);
    const { id: key, secret } = await admin.createKey(tenant, { name: "k" });
    return { tenant, key, client: clientOf(server, secret) };
  }
  const lines = (count: number, body: object = { prompt: "The fox", max_tokens: 4 }) =>
    Array.from({ length: count }, (_, i) => line(`r${i}`, "/v1/completions", body));

  it("each tenant has files and batches of its own, and pays for its lines", async () => {
    const [ada, tom] = [await customer(), await customer()];
    const batch = await ended(ada.client, await begin(ada.client, "/v1/completions", lines(5)));
    expect(batch.request_counts).toEqual({ total: 5, completed: 5, failed: 0 });
    const [used] = (await admin.usage(ada.tenant)).data;
    const output = await linesOf(ada.client, batch.output_file_id);
    const told = output.map(({ response }) => response?.body["usage"] as { completion_tokens: number });
    const tokens = told.reduce((sum, { completion_tokens: n }) => sum + n, 0);
    expect(tokens).toBeGreaterThan(5);
    expect(used).toMatchObject({ key: "key_1", requests: 5, completion_tokens: tokens });
    for (const file of [batch.input_file_id, batch.output_file_id!]) {
      expect(await failureOf(tom.client.files.retrieve(file))).toMatchObject({ status: 404 });
      expect(await failureOf(tom.client.files.content(file))).toMatchObject({ status: 404 });
      expect(await failureOf(tom.client.files.delete(file))).toMatchObject({ status: 404 });
    }
    expect(await failureOf(tom.client.batches.retrieve(batch.id))).toMatchObject({ status: 404 });
    expect(await failureOf(tom.client.batches.cancel(batch.id))).toMatchObject({ status: 404 });
    const stolen = {
      input_file_id: batch.input_file_id,
      endpoint: "/v1/completions",
      completion_window: "24h",
    } as const;
    expect(await failureOf(tom.client.batches.create(stolen))).toMatchObject({ status: 404 });
    expect([(await tom.client.files.list()).data, (await tom.client.batches.list()).data]).toEqual([[], []]);
    expect((await ada.client.batches.list()).data.map(({ id }) => id)).toEqual([batch.id]);
  });

  it("lines wait for the limits of the key, and none fails for them", async () => {
    const { client } = await customer({ concurrency: 1 });
    const batch = await ended(client, await begin(client, "/v1/completions", lines(9)));
    expect(batch.request_counts).toEqual({ total: 9, completed: 9, failed: 0 });
  });

  it("lines take no request from who asks how far they are, or has them cancelled", async () => {
    const { client } = await customer({ requests_per_minute: 10 });
    const batch = await begin(client, "/v1/completions", lines(60));
    const counts = async () => (await client.batches.retrieve(batch.id)).request_counts!;
    await expect.poll(async () => (await counts()).completed, { interval: 1_500, timeout: 9_000 }).toBeGreaterThan(9);
    expect((await client.batches.cancel(batch.id)).status).toBe("cancelling");
    expect((await counts()).completed).toBeLessThan(60);
  });

  it("a key that is revoked fails what is left, and says so", async () => {
    const { tenant, key, client } = await customer();
    const slow = { prompt: "The fox", max_tokens: 300, logit_bias: { 1: -100, 5: -100 } };
    const batch = await begin(client, "/v1/completions", lines(100, slow));
    await expect
      .poll(async () => (await client.batches.retrieve(batch.id)).request_counts?.completed, { timeout: 20_000 })
      .toBeGreaterThan(0);
    const second = clientOf(server, (await admin.createKey(tenant, { name: "other" })).secret);
    await fetch(`${server.url}/v1/admin/tenants/${tenant}/keys/${key}`, {
      method: "DELETE",
      headers: { authorization: "Bearer administrators" },
    });
    const done = await ended(second, batch);
    const { completed, failed } = done.request_counts!;
    expect([done.status, completed + failed]).toEqual(["completed", 100]);
    expect(failed).toBeGreaterThan(0);
    const errors = await linesOf(second, done.error_file_id);
    expect(errors).toHaveLength(failed);
    const said = { error: { code: "invalid_api_key" } };
    for (const error of errors) expect(error).toMatchObject({ response: { status_code: 401, body: said } });
  });

  it("no header makes a request one of a batch", async () => {
    const { tenant } = await customer();
    const answer = await fetch(`${server.url}/v1/models`, {
      headers: { caller: JSON.stringify({ tenant, key: 1 }), "x-caller": tenant, tenant, key: "1" },
    });
    expect(answer.status).toBe(401);
  });
});

describe("where R2 and Queues are not bound", () => {
  it("files and batches say so", async () => {
    const server = await startServer();
    try {
      const client = new OpenAI({ apiKey: "none", baseURL: `${server.url}/v1`, maxRetries: 0 });
      const file = await toFile(Buffer.from("{}"), "a.jsonl");
      const batch = {
        input_file_id: `file-${"a".repeat(32)}`,
        endpoint: "/v1/completions",
        completion_window: "24h",
      } as const;
      for (const ask of [
        () => client.files.create({ file, purpose: "batch" }),
        () => client.files.list(),
        () => client.files.retrieve(batch.input_file_id),
        () => client.files.delete(batch.input_file_id),
        () => client.batches.create(batch),
        () => client.batches.list(),
      ]) {
        expect(await failureOf(ask())).toMatchObject({ status: 400, code: "unsupported" });
      }
    } finally {
      await server.stop();
    }
  });
});
