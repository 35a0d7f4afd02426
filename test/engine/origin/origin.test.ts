// The origin engine against an origin that fails in all the ways that a real one cannot be made to, and says what a turn
// needs by its protocol.
import type { ServerResponse } from "node:http";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CircuitBreaker } from "../../../src/engine/origin/circuit-breaker.ts";
import { OriginEngine, type OriginOptions } from "../../../src/engine/origin/origin.ts";
import type { OriginModel } from "../../../src/engine/origin/protocol.ts";
import type { Turn } from "../../../src/engine/engine.ts";
import { stateLayout, type State } from "../../../src/model/state.ts";
import { opener, type Folder } from "../../checkpoint/folders.ts";
import { checkpointFolder, reply } from "../../parity/models.ts";
import { faultOf, frameOf, resultOf, stateOf, type Told } from "./models.ts";
import { begin, refuse, speaker, type Answer, type Asked, type Speaker } from "./speaker.ts";

let folder: Folder;
let origin: Speaker;
let engine: OriginEngine;
let model: OriginModel;
let nowMs: number;

const times = { answerMs: 1_200, silenceMs: 900, progressMs: 1_500, cancelMs: 600, endingMs: 700 };
const open = (options: Partial<OriginOptions> = {}) => {
  const breaker = new CircuitBreaker(() => nowMs, { firstWaitMs: 1_000, mostWaitMs: 8_000, probeMs: 5_000 });
  return OriginEngine.open(opener(folder), { url: origin.url, times, breaker, ...options });
};

beforeAll(async () => {
  folder = await checkpointFolder("pocket", "bf16");
});
beforeEach(async () => {
  nowMs = 0;
  origin = await speaker();
  engine = await open();
  const { files, kv } = engine.manifest;
  model = {
    checkpoint: files["weights.safetensors"].sha256,
    graph: files["graph.onnx"].sha256,
    layout: stateLayout(engine.config, kv),
    vocabSize: engine.config.vocabSize,
  };
});
afterEach(() => origin.close());

const end = () => engine.manifest.stop_token_ids[0]!;
const idsOf = (text: string) => engine.tokenizer!.encodeText(text);
/** A result frame after a prompt of `read` tokens and a reply of `generated`. */
const resultFrame = (read: number, generated: number, told: Partial<Told> = {}) => {
  const facts = {
    prompt_tokens: String(read),
    completion_tokens: String(generated),
    computed_tokens: String(read + generated),
    ...told.facts,
  };
  return frameOf("result", resultOf(model, { state: stateOf(model, read + generated), ...told, facts }));
};
const stopped = (stopped_by: string | number) => ({ finish_reason: "stop", stopped_by: JSON.stringify(stopped_by) });
const run = (turn: Partial<Turn> = {}, signal?: AbortSignal) => reply(engine, { tokens: [5, 6, 7], ...turn }, signal);
/** Answers every POST with these pieces, and then ends the stream. */
const says =
  (...pieces: Uint8Array[]): Answer =>
  (_, response) => {
    begin(response);
    for (const piece of pieces) response.write(piece);
    response.end();
  };

/** Goes on with the same until nobody listens. */
const drip = (response: ServerResponse, piece: Uint8Array) => {
  const timer = setInterval(() => response.write(piece), 50);
  response.on("close", () => clearInterval(timer));
};

describe("a turn at an origin", () => {
  it("is asked for as it is, and its tokens are spelt as the edge spells them", async () => {
    const words = idsOf("Hello there.");
    origin.answer = says(
      frameOf("waiting"),
      frameOf("tokens", { tokens: words.slice(0, 1) }),
      frameOf(77, { new: "kind" }),
      frameOf("tokens", { tokens: [...words.slice(1), end()] }),
      resultFrame(3, words.length + 1, { facts: stopped(end()) }),
    );
    engine = await open({ key: "secret" });
    const state = stateOf(model, 9);
    const { tokens, text, result } = await reply(engine, {
      tokens: [5, 6, 7],
      history: [1, 2],
      sampling: { temperature: 0, seed: 3n },
      maxTokens: 40,
    });
    expect(tokens).toEqual([...words, end()]);
    expect(text).toBe("Hello there.");
    expect(result).toMatchObject({ finishReason: "stop", stoppedBy: end(), promptTokens: 3, text: "" });
    expect(result).not.toHaveProperty("logits");
    expect(result.state).toEqual(stateOf(model, 3 + words.length + 1));
    const [asked] = origin.asked;
    expect(asked).toMatchObject({
      method: "POST",
      path: "/a/path/v1/generate",
      headers: { authorization: "Bearer secret", "content-type": "application/octet-stream" },
      options: { max_tokens: 40, stop: [], sampling: { seed: "3", temperature: 0 } },
      tensors: { tokens: 3, history: 2 },
    });
    // Whatever is kept of it is where the session is.
    expect(asked!.headers["x-session-id"]).toBe(asked!.options["keep"]);

    origin.answer = says(resultFrame(3, 0, { state: { ...state, position: 12 } }));
    await reply(engine, { tokens: [5, 6, 7], state, maxTokens: 0 });
    expect(Object.keys(origin.asked[1]!.tensors)).toEqual([...model.layout.entries.map(({ name }) => name), "tokens"]);
  });

  it("goes on from the state that the origin kept, where it is the very one, and sends any other", async () => {
    const state = { ...stateOf(model, 3), data: stateOf(model, 3).data.map((_, i) => i) };
    const facts = { fingerprint: "f1" };
    origin.answer = says(resultFrame(3, 0, { state, facts }));
    const first = await run({ maxTokens: 0 });
    origin.answer = says(resultFrame(3, 0, { state: stateOf(model, 6) }));
    const other = {
      ...first.result.state,
      data: first.result.state.data.map((byte, i) => (i === 7 ? byte ^ 1 : byte)),
    };
    for (const from of [other, first.result.state, first.result.state]) await run({ maxTokens: 0, state: from });
    const [{ options }, ...asked] = origin.asked as [Asked, ...Asked[]];
    const warm = { key: options["keep"], position: 3, fingerprint: "f1" };
    // A second time it is not there any more.
    expect(asked.map(({ options: { warm: named } }) => named)).toEqual([undefined, warm, undefined]);
    expect(asked.map(({ tensors }) => Object.keys(tensors).length === 1)).toEqual([false, true, false]);
    expect(asked[1]!.headers["x-session-id"]).toBe(options["keep"]);
    expect(asked[1]!.options["keep"]).toBe(options["keep"]);
  });

  it("sends the state where the origin has not got it any more", async () => {
    origin.answer = says(resultFrame(3, 0, { state: stateOf(model, 3), facts: { fingerprint: "f1" } }));
    const { result } = await run({ maxTokens: 0 });
    origin.answer = ({ options }, response) => {
      if (options["warm"] !== undefined) return refuse(response, 409, "state_needed");
      begin(response).end(resultFrame(3, 0, { state: stateOf(model, 6) }));
    };
    expect((await run({ maxTokens: 0, state: result.state })).result.state.position).toBe(6);
    expect(origin.asked.slice(1).map(({ tensors }) => Object.keys(tensors).length > 1)).toEqual([false, true]);
    expect(engine.awayMs).toBe(0);
  });

  it("holds text back that may be a stop string, and gives it in the end", async () => {
    const words = idsOf("one two");
    origin.answer = says(frameOf("tokens", { tokens: words }), resultFrame(3, words.length));
    const held = await run({ stop: ["two three"], maxTokens: words.length });
    expect(held.text).toBe("one two");
    expect(held.result).toMatchObject({ finishReason: "length", text: "two" });
    origin.answer = says(frameOf("tokens", { tokens: words }), resultFrame(3, words.length, { facts: stopped("two") }));
    expect((await run({ stop: ["two"] })).text).toBe("one ");
  });

  it("yields what was replied before, which is not sent again", async () => {
    const words = idsOf("Hello there.");
    const had = words.slice(0, 2);
    origin.answer = says(frameOf("tokens", { tokens: words.slice(2) }), resultFrame(3, words.length));
    const { tokens, text } = await run({ replied: had, maxTokens: words.length });
    expect([tokens, text]).toEqual([words, "Hello there."]);
    expect(origin.asked[0]!.tensors).toEqual({ tokens: 3, replied: 2 });
  });

  it("that nothing goes on from is asked for without its state, and nothing is kept of it", async () => {
    const facts = { prompt_tokens: "3", completion_tokens: "0", computed_tokens: "3" };
    const bare = resultOf(
      { ...model, layout: { ...model.layout, entries: [], totalBytes: 0 } },
      {
        state: { position: 3, data: new Uint8Array() },
        facts,
      },
    );
    origin.answer = says(frameOf("result", bare));
    const { result } = await run({ maxTokens: 0, isLast: true });
    expect(result.state).toEqual({ position: 3, data: new Uint8Array() });
    expect(origin.asked[0]!.options).toMatchObject({ return_state: false });
    expect(origin.asked[0]!.options).not.toHaveProperty("keep");
    expect((await faultOf(() => run({ maxTokens: 0, state: result.state }))).code).toBe("invalid_state");
    expect((await faultOf(() => run({ maxTokens: 0 }))).code).toBe("origin_failed");
  });

  it("passes reports on", async () => {
    const news = { tokens: [9], log_probabilities: [-0.5], top: [[[9, -0.5]]] };
    origin.answer = says(frameOf("tokens", news), resultFrame(3, 1));
    const { generated } = await run({ maxTokens: 1, topLogProbabilities: 1 });
    expect(generated).toMatchObject([{ logProbability: -0.5, top: [{ token: 9, logProbability: -0.5 }] }]);
    expect(origin.asked[0]!.options["top_log_probabilities"]).toBe(1);
  });

  it.each<[string, Partial<Turn>, string]>([
    ["a format", { format: { type: "json_object" } as unknown as Turn["format"] }, "unsupported"],
    ["no tokens", { tokens: [] }, "invalid_argument"],
    ["a token that is none", { history: [-1] }, "invalid_argument"],
    ["an empty stop string", { stop: [""] }, "invalid_argument"],
    ["too many reports", { topLogProbabilities: 101 }, "invalid_argument"],
    ["sampling out of range", { sampling: { topP: 2 } }, "invalid_argument"],
    ["another model's state", { state: { position: 1, data: new Uint8Array(3) } }, "invalid_state"],
  ])("with %s is refused before anybody is asked", async (_, turn, code) => {
    expect((await faultOf(() => run(turn))).code).toBe(code);
    expect(origin.asked).toEqual([]);
  });
});

describe("a prefill at an origin", () => {
  it("gives the state and the logits of the last token", async () => {
    const logits = Array.from({ length: model.vocabSize }, (_, i) => i / 8);
    origin.answer = says(frameOf("waiting"), resultFrame(3, 0, { logits }));
    const read = await engine.prefill([5, 6, 7]);
    expect(read).toEqual({
      state: stateOf(model, 3),
      logits: Float32Array.from(logits),
      promptTokens: 3,
      computedTokens: 3,
    });
    expect(origin.asked[0]).toMatchObject({ path: "/a/path/v1/prefill", tensors: { tokens: 3 } });
    expect(Object.keys(origin.asked[0]!.options)).toEqual(["id", "logits"]);
  });

  it("fails when logits are missing, or tokens come", async () => {
    origin.answer = says(resultFrame(3, 0));
    expect((await faultOf(() => engine.prefill([5, 6, 7]))).message).toMatch(/no logits/);
    nowMs += 60_000;
    const closed = Promise.withResolvers<void>();
    origin.answer = (_, response) => {
      response.on("close", () => closed.resolve());
      begin(response).write(frameOf("tokens", { tokens: [1] }));
    };
    expect((await faultOf(() => engine.prefill([5, 6, 7]))).message).toMatch(/none were asked for/);
    await closed.promise;
  });
});

describe("cancelling a turn at an origin", () => {
  it("asks the origin to end it, and takes the tokens and the state that still come", async () => {
    const cancel = new AbortController();
    let post: Parameters<Answer>[1];
    origin.answer = ({ method }, response) => {
      if (method === "POST") {
        post = begin(response);
        return void post.write(frameOf("tokens", { tokens: [8] }));
      }
      response.writeHead(204, { "x-griffin-protocol": "1" }).end();
      post.write(frameOf("tokens", { tokens: [9] }));
      post.end(resultFrame(3, 2, { facts: { finish_reason: "cancelled" } }));
    };
    const turn = engine.generate({ tokens: [5, 6, 7] }, cancel.signal);
    expect((await turn.next()).value).toMatchObject({ token: 8 });
    cancel.abort();
    expect((await turn.next()).value).toMatchObject({ token: 9 });
    expect((await turn.next()).value).toMatchObject({ finishReason: "cancelled", completionTokens: 2 });
    const [asked, ended] = origin.asked;
    expect(ended).toMatchObject({ method: "DELETE", path: `/a/path/v1/generate/${String(asked!.options["id"])}` });
    expect(ended!.headers["x-session-id"]).toBe(asked!.headers["x-session-id"]);
  });

  it("asks again while the turn is not known yet", async () => {
    const cancel = new AbortController();
    let post: Parameters<Answer>[1];
    let deletes = 0;
    origin.answer = ({ method }, response) => {
      if (method === "POST") {
        post = begin(response);
        post.write(frameOf("waiting"));
        return cancel.abort();
      }
      if (++deletes < 3) return refuse(response, 404, "not_found");
      response.writeHead(204).end();
      post.end(resultFrame(0, 0, { facts: { finish_reason: "cancelled" } }));
    };
    const { result } = await run({}, cancel.signal);
    expect(result).toMatchObject({ finishReason: "cancelled", promptTokens: 0, state: { position: 0 } });
    expect(deletes).toBe(3);
  });

  it.each([404, 204])("leaves an origin that answers %i and goes on", async (status) => {
    const cancel = new AbortController();
    origin.answer = ({ method }, response) => {
      if (method !== "POST") return void response.writeHead(status, { "x-griffin-protocol": "1" }).end();
      begin(response).write(frameOf("tokens", { tokens: [8] }));
      const beats = setInterval(() => response.write(frameOf("waiting")), 50);
      response.on("close", () => clearInterval(beats));
    };
    const turn = engine.generate({ tokens: [5, 6, 7] }, cancel.signal);
    await turn.next();
    cancel.abort();
    expect(await faultOf(() => turn.next())).toMatchObject({
      code: "origin_failed",
      message: "The origin did not end the turn.",
    });
    // It is well: whoever runs the turn goes on with it.
    expect(engine.awayMs).toBe(0);
  });

  it("before it began fails without a word to the origin", async () => {
    expect((await faultOf(() => run({}, AbortSignal.abort()))).code).toBe("cancelled");
    expect((await faultOf(() => engine.prefill([5], undefined, AbortSignal.abort()))).code).toBe("cancelled");
    expect(origin.asked).toEqual([]);
  });

  it("by walking away closes the connection", async () => {
    const closed = Promise.withResolvers<void>();
    origin.answer = (_, response) => {
      response.on("close", () => closed.resolve());
      begin(response).write(frameOf("tokens", { tokens: [8] }));
    };
    for await (const { token } of engine.generate({ tokens: [5] })) if (token === 8) break;
    await closed.promise;
    expect(origin.asked.map(({ method }) => method)).toEqual(["POST"]);
    expect(engine.awayMs).toBe(0);
  });
});

describe("an origin that fails", () => {
  const tokens = frameOf("tokens", { tokens: [8] });

  it.each<[string, () => Answer, RegExp, string?]>([
    ["ends its stream without a result", () => says(tokens), /broke off/],
    ["ends it in a frame", () => says(tokens, resultFrame(3, 1).subarray(0, 90)), /broke off/],
    [
      "loses the connection",
      () => (_, response) => void begin(response).write(tokens, () => response.destroy()),
      /broke off/,
    ],
    ["falls silent", () => (_, response) => void begin(response).write(tokens), /silent for 0.9 s/],
    ["does not answer", () => () => undefined, /did not answer for 1.2 s/, "origin_away"],
    [
      "is cut off before it answers",
      () => (_, response) => void response.destroy(),
      /cannot be reached/,
      "origin_away",
    ],
    [
      "says for ever that the turn waits",
      () => (_, response) => drip(begin(response), frameOf("waiting")),
      /takes too long/,
    ],
    [
      "says what nobody understands for ever",
      () => (_, response) => drip(begin(response), frameOf(77, { new: "kind" })),
      /takes too long/,
    ],
    [
      "does not come to the end of its error",
      () => (_, response) => drip(response.writeHead(500, { "x-griffin-protocol": "1" }), new Uint8Array([32])),
      /takes too long/,
    ],
    ["sends too long a frame", () => says(tokens, frameOf("error", new Uint8Array(70_000))), /70000 bytes/],
  ])("because it %s is left alone for a while", async (_, answer, message, code = "origin_failed") => {
    origin.answer = answer();
    expect(await faultOf(run)).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(engine.awayMs).toBe(1_000);
    const asked = origin.asked.length;
    expect(await faultOf(run)).toMatchObject({
      code: "origin_away",
      message: expect.stringMatching(/is away; it is asked again in 1 s/),
    });
    expect(origin.asked).toHaveLength(asked);
    nowMs += 1_000;
    origin.answer = says(resultFrame(3, 0));
    expect((await run({ maxTokens: 0 })).result.promptTokens).toBe(3);
    expect(engine.awayMs).toBe(0);
  });

  it("gave the tokens that came before", async () => {
    origin.answer = says(tokens);
    const turn = engine.generate({ tokens: [5] });
    expect((await turn.next()).value).toMatchObject({ token: 8 });
    expect((await faultOf(() => turn.next())).code).toBe("origin_failed");
  });

  it("is one with signs of life as long as it waits", async () => {
    origin.answer = async (_, response) => {
      begin(response);
      for (let i = 0; i < 4; i++) {
        response.write(frameOf("waiting"));
        await new Promise((resolve) => void setTimeout(resolve, 300));
      }
      response.end(resultFrame(3, 0));
    };
    expect((await run({ maxTokens: 0 })).result.promptTokens).toBe(3);
  });

  it.each<[string, () => Told["facts"], (state: State) => State, () => Turn["stop"]]>([
    [
      "another count of the reply",
      () => ({ completion_tokens: "2" }),
      (state) => ({ ...state, position: 5 }),
      () => [],
    ],
    ["another position", () => ({}), (state) => ({ ...state, position: 5 }), () => []],
    ["a prompt not read", () => ({ prompt_tokens: "2" }), (state) => ({ ...state, position: 3 }), () => []],
    ["an end that its tokens do not spell", () => stopped("never"), (state) => state, () => ["never"]],
    ["no end where its tokens spell one", () => ({}), (state) => state, () => [engine.tokenizer!.decode([8])]],
    ["that it was cancelled", () => ({ finish_reason: "cancelled" }), (state) => state, () => []],
    ["something that is no number", () => ({ computed_tokens: "many" }), (state) => state, () => []],
  ])("because it says %s is not believed, and is left alone", async (_, facts, change, stop) => {
    const state = change(stateOf(model, 4));
    origin.answer = says(tokens, resultFrame(3, 1, { state, facts: facts() }));
    expect((await faultOf(() => run({ stop: stop(), maxTokens: 1 }))).code).toBe("origin_failed");
    expect(engine.awayMs).toBe(60_000);
  });

  it.each<[string, Answer]>([
    ["tokens that are none", says(frameOf("tokens", { tokens: "eight" }))],
    ["tokens that the model has not", says(frameOf("tokens", { tokens: [2 ** 30] }))],
    ["the end of a reply before it is as long as it may be", (...asked) => says(tokens, resultFrame(3, 1))(...asked)],
    ["an error that is none", says(frameOf("error", { fault: 1 }))],
    [
      "an answer that is none",
      (_, response) => void response.writeHead(500, { "x-griffin-protocol": "1" }).end("Oh no"),
    ],
  ])("because it sends %s is left alone, and asked again when that is over", async (_, answer) => {
    origin.answer = answer;
    expect((await faultOf(() => run({ maxTokens: 2 }))).code).toBe("origin_failed");
    expect(engine.awayMs).toBe(60_000);
    nowMs += 60_000;
    expect((await faultOf(() => run({ maxTokens: 2 }))).code).toBe("origin_failed");
    // The one that asked is not waited for: it has failed.
    expect(engine.awayMs).toBe(60_000);
  });

  it("because it ran another checkpoint is not believed", async () => {
    origin.answer = says(resultFrame(3, 0, { facts: { checkpoint: "0".repeat(64) } }));
    expect((await faultOf(() => run({ maxTokens: 0 }))).message).toMatch(/another checkpoint/);
  });

  it("because it goes on past the length of a reply is not believed", async () => {
    origin.answer = says(frameOf("tokens", { tokens: [8, 9, 8] }), resultFrame(3, 3));
    expect((await faultOf(() => run({ maxTokens: 2 }))).message).toMatch(/more than 2 tokens/);
  });
});

describe("what an origin says", () => {
  it.each([
    [400, "invalid_argument", "invalid_argument"],
    [400, "invalid_state", "invalid_state"],
    [404, "not_found", "origin_failed"],
    [408, "timeout", "origin_failed"],
    [409, "state_needed", "origin_failed"],
    [413, "too_large", "body_too_large"],
    [500, "internal", "origin_failed"],
    [418, "new_code", "origin_failed"],
    [400, "constructor", "origin_failed"],
  ])("with status %i and code %s is %s here, and is no reason to leave it alone", async (status, code, ours) => {
    origin.answer = (_, response) => refuse(response, status, code);
    expect(await faultOf(run)).toEqual(
      expect.objectContaining({ code: ours, message: `The origin says ${code}: because` }),
    );
    origin.answer = says(frameOf("waiting"), frameOf("error", { error: { code, message: "because" } }));
    expect((await faultOf(run)).code).toBe(ours);
    expect(engine.awayMs).toBe(0);
  });

  it.each([
    [401, "unauthorized", /^The origin says unauthorized: because/, 1_000],
    [409, "checkpoint_mismatch", /^The origin has another checkpoint .* says checkpoint_mismatch: because/, 60_000],
  ])("with status %i and code %s holds for everybody, and waiting will not help", async (status, code, said, ms) => {
    origin.answer = (_, response) => refuse(response, status, code);
    expect(await faultOf(run)).toMatchObject({ code: "origin_failed", message: expect.stringMatching(said) });
    expect(engine.awayMs).toBe(ms);
    // Also for those who are not let through: none of them waits for it as for one that is away.
    expect(await faultOf(run)).toMatchObject({
      code: "origin_failed",
      message: expect.stringMatching(/not in passing/),
    });
    expect(await faultOf(() => engine.checkThere())).toMatchObject({ code: "origin_failed" });
  });

  it("of having no room leaves it alone for as long as it asks", async () => {
    origin.answer = (_, response) => refuse(response, 503, "busy", { "retry-after": "7" });
    expect((await faultOf(run)).code).toBe("origin_away");
    expect(engine.awayMs).toBe(7_000);
    nowMs += 7_000;
    origin.answer = says(frameOf("error", { error: { code: "busy", message: "no slot" } }));
    expect((await faultOf(run)).message).toMatch(/no slot/);
    expect(engine.awayMs).toBe(2_000);
  });

  it("is not what a proxy says in its place, and what is no origin is left alone", async () => {
    origin.answer = (_, response) => void response.writeHead(200).end("<html>");
    expect((await faultOf(run)).message).toMatch(/status 200, is no origin/);
    expect(engine.awayMs).toBe(1_000);
    nowMs += 1_000;
    origin.answer = (_, response) => void response.writeHead(302, { location: origin.url }).end();
    expect((await faultOf(run)).message).toMatch(/is no origin/);
    expect(origin.asked).toHaveLength(2);
    nowMs += 2_000;
    origin.answer = (_, response) => void response.writeHead(502).end("Bad gateway");
    expect((await faultOf(run)).code).toBe("origin_away");
    expect(engine.awayMs).toBe(4_000);
    nowMs += 4_000;
    // Ray Serve before its application is there.
    origin.answer = (_, response) => void response.writeHead(404).end("Path '/v1/generate' not found.");
    expect((await faultOf(run)).code).toBe("origin_away");
  });
});
