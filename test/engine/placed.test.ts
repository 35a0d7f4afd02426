// How long a turn waits for an origin, and how often it tries: with an origin that says what a test tells it to.
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type { EdgeEngine } from "../../src/engine/edge.ts";
import { CircuitBreaker } from "../../src/engine/origin/circuit-breaker.ts";
import { OriginEngine } from "../../src/engine/origin/origin.ts";
import type { OriginModel } from "../../src/engine/origin/protocol.ts";
import { PlacedEngine, type PlacedTimes } from "../../src/engine/placed.ts";
import { checkpointFolder, engineOf, reply } from "../parity/models.ts";
import { faultOf, frameOf, resultOf, stateOf } from "./origin/models.ts";
import { begin, refuse, speaker, type Answer, type Speaker } from "./origin/speaker.ts";

let edge: EdgeEngine;
let model: OriginModel;
let origin: Speaker;
beforeAll(async () => {
  edge = await engineOf(await checkpointFolder("pocket", "bf16"));
  const { files } = edge.manifest;
  model = {
    checkpoint: files["weights.safetensors"].sha256,
    graph: files["graph.onnx"].sha256,
    layout: edge.instance.stateLayout,
    vocabSize: edge.config.vocabSize,
  };
});
beforeEach(async () => {
  origin = await speaker();
});
afterEach(() => origin.close());

const turn = { tokens: [2, 5, 6], maxTokens: 3, stopTokens: [], sampling: { temperature: 0 } };

/** Only there unless told; whoever was lost is asked again at once. */
function placed(times: Partial<PlacedTimes> = {}, here: EdgeEngine | null = null): PlacedEngine {
  const breaker = new CircuitBreaker(Date.now, { firstWaitMs: 1, mostWaitMs: 1, probeMs: 10_000 });
  const there = new OriginEngine(edge, { url: origin.url, breaker, times: { cancelMs: 100 } });
  const options = { edge: here, origin: there, prefillTokens: 1, takesBatches: true };
  return new PlacedEngine({ ...options, times: { pauseMs: 5, ...times } });
}

const tokens = (...ids: number[]) => frameOf("tokens", { tokens: ids });
const waiting = frameOf("waiting");
const internal = frameOf("error", { error: { code: "internal", message: "because" } });
const result = (generated: number, facts: Record<string, string> = {}) => {
  const counts = { prompt_tokens: "3", completion_tokens: String(generated), computed_tokens: String(3 + generated) };
  return frameOf("result", resultOf(model, { state: stateOf(model, 3 + generated), facts: { ...counts, ...facts } }));
};
const sleep = (ms: number) => new Promise((resolve) => void setTimeout(resolve, ms));

/** Answers the first POST with the first, and so on; the last one for ever. */
function answers(...all: Answer[]): void {
  let posts = 0;
  origin.answer = (asked, response) => {
    if (asked.method !== "POST") return refuse(response, 404, "not_found");
    return all[Math.min(posts++, all.length - 1)]!(asked, response);
  };
}
/** Sends these frames, and then breaks off. */
const breaks =
  (...frames: Uint8Array[]): Answer =>
  (_, response) => {
    begin(response).write(Buffer.concat(frames), () => response.destroy());
  };
const says =
  (...frames: Uint8Array[]): Answer =>
  (_, response) =>
    void begin(response).end(Buffer.concat(frames));
const isAway: Answer = (_, response) => void response.destroy();

it("an origin that is there and fails three times without a token in between is given up", async () => {
  answers(says(tokens(8), internal), says(internal));
  const events = placed().generate(turn);
  expect((await events.next()).value).toMatchObject({ token: 8 });
  expect(await faultOf(() => events.next())).toMatchObject({ code: "origin_failed", message: /because/ });
  expect(origin.asked.filter(({ method }) => method === "POST")).toHaveLength(3);
  answers(
    says(tokens(8), internal),
    says(internal),
    says(tokens(9), internal),
    says(internal),
    says(tokens(7), result(3)),
  );
  expect((await reply(placed(), turn)).tokens).toEqual([8, 9, 7]);
});

it("an origin that is away is waited for while there is patience, and not before a first token", async () => {
  const patienceMs = 300;
  answers(breaks(tokens(8)), isAway);
  const events = placed({ patienceMs }).generate(turn);
  await events.next();
  const lostMs = Date.now();
  expect((await faultOf(() => events.next())).code).toBe("origin_away");
  expect(Date.now() - lostMs).toBeGreaterThanOrEqual(patienceMs);
  answers(isAway);
  const asked = origin.asked.length;
  expect((await faultOf(() => reply(placed(), turn))).code).toBe("origin_away");
  expect(origin.asked).toHaveLength(asked + 1);
  answers(isAway, isAway, says(tokens(8, 9, 7), result(3)));
  expect((await reply(placed(), { ...turn, isBegun: true } as typeof turn)).tokens).toEqual([8, 9, 7]);
});

it("patience begins anew when the origin is back, though all it says is that the turn waits", async () => {
  const patienceMs = 300;
  const waits: Answer = async (_, response) => {
    begin(response).write(waiting);
    await sleep(2 * patienceMs);
    response.destroy();
  };
  answers(breaks(tokens(8)), waits, isAway, says(tokens(9, 7), result(3)));
  expect((await reply(placed({ patienceMs }), turn)).tokens).toEqual([8, 9, 7]);
});

it("whoever cancels waits so long for what was said to be read again, and for nothing that is lost", async () => {
  for (const [keepMs, second] of [
    [300, (_, response) => void begin(response).write(waiting)],
    [60_000, isAway],
  ] as [number, Answer][]) {
    const cancel = new AbortController();
    answers(breaks(tokens(8)), second);
    const events = placed({ keepMs }).generate(turn, cancel.signal);
    await events.next();
    cancel.abort();
    expect((await faultOf(() => events.next())).code).toMatch(/^origin_(failed|away)$/);
  }
});

it("whoever cancels a turn that was taken up again waits so long for the origin to read its prompt", async () => {
  answers((_, response) => void begin(response).write(waiting));
  const replied = (await reply(edge, { ...turn, maxTokens: 2 })).tokens;
  const cancel = new AbortController();
  const running = reply(placed({ keepMs: 200 }, edge), { ...turn, maxTokens: 90, replied }, cancel.signal);
  await sleep(100);
  cancel.abort();
  const { tokens: said, result: end } = await running;
  expect(origin.asked.map(({ method }) => method)).toContain("DELETE");
  expect([said.slice(0, 2), said.length]).toEqual([replied, 3]);
  expect(end).toMatchObject({ finishReason: "cancelled", completionTokens: 3, placement: "edge" });
  expect(end.state.position).toBe(turn.tokens.length + 3);
});

it("a turn at an origin that is silent for long does not hold the edge's memory", async () => {
  answers((_, response) => void begin(response).write(tokens(8)));
  const engine = placed({ silenceMs: 300 }, edge);
  const events = engine.generate({ ...turn, isBatch: true });
  await events.next();
  expect(engine.isBusy).toBe(true);
  await expect.poll(() => engine.isBusy).toBe(false);
  await events.return(undefined as never);
});
