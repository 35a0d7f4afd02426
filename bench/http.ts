// The worker under `workerd serve`, measured by a client on the same machine over loopback. Every loop is bounded; the
// client takes part of the same cores, so the figures are lower bounds.
import { startServer, type TestServer } from "../test/server.ts";
import { administrator } from "../test/serve/administrator.ts";
import { ask, respond, type Reply } from "../test/serve/client.ts";
import { talk } from "../test/serve/talk.ts";
import { grouped, type Figure } from "./figure.ts";
import { connections, measureLoad } from "./load.ts";
import type { Section } from "./report.ts";

const runs = 9;
/** So many sentences of about 10 tokens that pocket knows. */
const sentences = (count: number) => Array.from({ length: count }, (_, i) => talk(i)).join(" ");

export async function measureHttp(): Promise<Section[]> {
  const coldStart = await measureColdStart();
  const server = await startServer();
  try {
    const rates = await measureRates(server);
    const loads = await measureLoads(server);
    const withKeys = await measureKeys();
    const short = await measureTurns(server);
    const long = await measureResume(server);
    return [
      {
        title: "Pocket over HTTP, under workerd serve",
        figures: [...coldStart, ...rates, ...loads, ...withKeys, ...short, ...long],
      },
    ];
  } finally {
    await server.stop();
  }
}

/** From starting the process, and from the first request to it, to the first token of a reply. */
async function measureColdStart(): Promise<Figure[]> {
  const fromProcess: number[] = [];
  const fromRequest: number[] = [];
  for (let run = 0; run < runs; run++) {
    const startMs = performance.now();
    const server = await startServer();
    const requestMs = performance.now();
    await streamed(server, "/v1/responses", { input: "Hello!", max_output_tokens: 1 });
    fromProcess.push(performance.now() - startMs);
    fromRequest.push(performance.now() - requestMs);
    await server.stop();
  }
  return [
    { name: "cold start of the process to the first token", unit: "ms", values: fromProcess },
    { name: "first request of an isolate to the first token (loads the checkpoint)", unit: "ms", values: fromRequest },
  ];
}

async function measureRates(server: TestServer): Promise<Figure[]> {
  const decode: number[] = [];
  const prefill: number[] = [];
  for (let run = 0; run < runs; run++) {
    // Without its stop tokens pocket talks on until it has said as much as it may.
    const body = {
      max_tokens: 512,
      logit_bias: { 1: -100, 5: -100 },
      messages: [{ role: "user", content: `Hello ${run}!` }],
    };
    const { firstMs, endMs } = await streamed(server, "/v1/chat/completions", body);
    decode.push(511 / ((endMs - firstMs) / 1000));
    const startMs = performance.now();
    const reply = await respond(server, { input: `${run} ${sentences(400)}`, max_output_tokens: 1 });
    prefill.push(reply.promptTokens / ((performance.now() - startMs) / 1000));
  }
  return [
    { name: "decode, 512 tokens streamed over HTTP", unit: "tokens/s", values: decode },
    { name: "prefill, a prompt of about 4 000 tokens, the request included", unit: "tokens/s", values: prefill },
  ];
}

/** Requests by the thousand: what the router alone can do, short completions, and turns that go on from a stored state. */
async function measureLoads(server: TestServer): Promise<Figure[]> {
  const begun: Reply[] = [];
  for (let chat = 0; chat < connections; chat++) {
    begun.push(await respond(server, { input: talk(chat), max_output_tokens: 16 }));
  }
  // Without its stop tokens pocket talks on until it has said as much as it may.
  const sixteen = { model: "pocket", temperature: 0, logit_bias: { 1: -100, 5: -100 } };
  const completion = (n: number) => ({
    ...sixteen,
    max_tokens: 16,
    messages: [{ role: "user", content: `${n} foxes.` }],
  });
  const turn = (n: number) => ({
    ...sixteen,
    max_output_tokens: 16,
    input: `${n} foxes.`,
    previous_response_id: begun[n % connections]?.id,
  });
  const few = { requests: 96, runs: 5 };
  const many = { requests: 4_000, runs };
  return [
    ...(await measureLoad(server.url, { name: "`GET /health`", path: "/health", ...many })),
    ...(await measureLoad(server.url, { name: "`GET /v1/models`", path: "/v1/models", ...many })),
    ...(await measureLoad(server.url, {
      name: "a chat completion of 16 tokens",
      path: "/v1/chat/completions",
      body: completion,
      ...few,
    })),
    ...(await measureLoad(server.url, {
      name: "a turn of 16 tokens after a stored one",
      path: "/v1/responses",
      body: turn,
      ...few,
    })),
  ];
}

/** The same for a server that asks for keys: each request asks the tenant's object. */
async function measureKeys(): Promise<Figure[]> {
  const adminKey = "administrators";
  const server = await startServer({ environment: { ADMIN_KEY: adminKey } });
  try {
    const admin = administrator(server.url, adminKey);
    const { secret } = await admin.createKey((await admin.createTenant("t")).id, { name: "k" });
    const headers = { authorization: `Bearer ${secret}` };
    return await measureLoad(server.url, {
      name: "`GET /v1/models` with a key",
      path: "/v1/models",
      headers,
      requests: 4_000,
      runs,
    });
  } finally {
    await server.stop();
  }
}

/** What responses of an ordinary chat write. */
async function measureTurns(server: TestServer): Promise<Figure[]> {
  const replies: Reply[] = [];
  for (let turn = 0; turn < 30; turn++) {
    replies.push(await respond(server, { input: talk(turn), previous_response_id: replies.at(-1)?.id ?? null }));
  }
  const of = (name: "rows_written" | "bytes_written") => replies.map((reply) => reply.griffin[name]);
  return [
    { name: "rows written by a turn", unit: "rows", values: of("rows_written") },
    { name: "bytes written by a turn", unit: "bytes", values: of("bytes_written") },
    { name: "tokens of such a turn", unit: "tokens", values: replies.map((reply) => reply.griffin.computed_tokens) },
  ];
}

/** The size of the state, and how fast a chat goes on after its server was restarted, by length of its history. */
async function measureResume(server: TestServer): Promise<Figure[]> {
  const figures: Figure[] = [];
  const sizes: Figure[] = [];
  let last = await respond(server, { input: ".", max_output_tokens: 1 });
  const grow = async (tokens: number) => {
    for (let held = heldBy(last); held < tokens; held = heldBy(last)) {
      const input = sentences(Math.min(2_500, Math.ceil((tokens - held) / 12)));
      last = await respond(server, { input, previous_response_id: last.id, max_output_tokens: 1 });
    }
  };
  for (const tokens of [10, 1_000, 10_000, 100_000]) {
    await grow(tokens);
    if (tokens === 10 || tokens === 10_000) {
      sizes.push({
        name: `state after ${grouped(heldBy(last))} tokens`,
        unit: "bytes",
        values: [last.griffin.state_bytes],
      });
      continue;
    }
    const values: number[] = [];
    const body = { input: "What is my name?", previous_response_id: last.id };
    for (let run = 0; run < runs; run++) {
      await server.restart();
      // Another chat loads the checkpoint; this one has to come from the disk.
      await respond(server, { input: "Hello!", max_output_tokens: 1 });
      const startMs = performance.now();
      values.push((await streamed(server, "/v1/responses", body)).firstMs - startMs);
    }
    const { state, griffin } = await respond(server, body);
    if (state !== "restored") throw new Error(`the state was ${state}, ${griffin.computed_tokens} tokens computed`);
    figures.push({ name: `resume to the first token, ${grouped(heldBy(last))} tokens of history`, unit: "ms", values });
  }
  return [...sizes, ...figures];
}

/** Tokens in the state after a turn. */
const heldBy = (reply: Reply) => reply.promptTokens + reply.completionTokens;

/** Streams a greedy reply of pocket: when its first text came, and when it ended. */
async function streamed(server: TestServer, path: string, body: object): Promise<{ firstMs: number; endMs: number }> {
  const response = await ask(server, path, { model: "pocket", temperature: 0, stream: true, ...body });
  if (!response.ok || response.body === null) throw new Error(`status ${response.status}: ${await response.text()}`);
  let text = "";
  let firstMs = 0;
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    // The first event with text, of either API.
    if (firstMs === 0 && /"(delta|content)":\s*"[^"]/.test(text)) firstMs = performance.now();
  }
  if (firstMs === 0) throw new Error(`The stream had no text:\n${text}`);
  return { firstMs, endMs: performance.now() };
}
