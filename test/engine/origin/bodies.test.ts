// The bodies that edge and origin send each other: what is asked for, and what a result may be.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { headerLength, headerLengthBytes, parseHeader } from "../../../src/checkpoint/safetensors.ts";
import { decodeResult, resultLimitBytes } from "../../../src/engine/origin/result-body.ts";
import { decodeTokens } from "../../../src/engine/origin/tokens-frame.ts";
import { encodeTurn, generateOptions } from "../../../src/engine/origin/turn-body.ts";
import { defaultSampling } from "../../../src/engine/sampling.ts";
import { emptyState } from "../../../src/model/state.ts";
import { faultOf, modelOf, resultOf, stateOf } from "./models.ts";

const kvs = fc.constantFrom("f32" as const, "bf16" as const);
const ids = fc.array(fc.integer({ min: 0, max: 49 }), { maxLength: 6 });
const positions = fc.integer({ min: 1, max: 2 ** 31 - 1 });
const small = modelOf("bf16");

describe("the body of a turn", () => {
  it("has the state first and as it is, then the tokens, and nothing else", () => {
    fc.assert(
      fc.property(kvs, fc.nat(3), ids, ids, ids, (kv, position, some, history, replied) => {
        const model = modelOf(kv);
        const tokens = [7, ...some];
        const state = stateOf(model, position);
        const pieces = encodeTurn({ tokens, history, replied, state }, { id: "a" }, model);
        // A state has many MB: it is sent from where it lies.
        expect(pieces.includes(state.data)).toBe(position > 0);
        const body = Uint8Array.from(Buffer.concat(pieces));
        const length = headerLength(body, body.byteLength, "body");
        const json = body.subarray(headerLengthBytes, headerLengthBytes + length);
        const header = parseHeader(json, body.byteLength, "body");
        const { dataStartBytes, metadata, tensors } = header;
        expect(metadata).toEqual({
          format: "griffin_turn",
          format_version: "1",
          checkpoint: model.checkpoint,
          graph: model.graph,
          options: '{"id":"a"}',
          ...(position > 0 && { position: String(position) }),
        });
        const stateBytes = position > 0 ? model.layout.totalBytes : 0;
        expect(body.subarray(dataStartBytes, dataStartBytes + stateBytes)).toEqual(state.data.subarray(0, stateBytes));
        for (const { name, shape, offsetBytes } of position > 0 ? model.layout.entries : []) {
          expect(tensors.get(name)).toMatchObject({ shape, beginBytes: offsetBytes });
        }
        const read = (name: string) => {
          const entry = tensors.get(name);
          if (entry === undefined) return [];
          expect(entry.dtype).toBe("I32");
          const bytes = body.slice(dataStartBytes + entry.beginBytes, dataStartBytes + entry.endBytes);
          return [...new Int32Array(bytes.buffer)];
        };
        expect([read("tokens"), read("history"), read("replied")]).toEqual([tokens, history, replied]);
        expect([...tensors.values()].at(-1)!.endBytes).toBe(body.byteLength - dataStartBytes);
      }),
      { seed: 3 },
    );
  });

  it("names every option as the protocol does, a seed in all its digits", () => {
    const sampling = { ...defaultSampling, seed: 2n ** 64n - 1n, topK: 5, logitBias: new Map([[17, -2.5]]) };
    const options = { maxTokens: 9, stop: ["\n"], stopTokens: [], topLogProbabilities: 0, sampling };
    expect(generateOptions("turn", options)).toEqual({
      id: "turn",
      max_tokens: 9,
      stop: ["\n"],
      stop_tokens: [],
      top_log_probabilities: 0,
      sampling: {
        seed: "18446744073709551615",
        temperature: 1,
        top_k: 5,
        top_p: 1,
        min_p: 0,
        frequency_penalty: 0,
        presence_penalty: 0,
        repetition_penalty: 1,
        logit_bias: { 17: -2.5 },
      },
    });
    expect(generateOptions("turn", { maxTokens: 9, sampling })).not.toHaveProperty("stop_tokens");
    expect(generateOptions("turn", { ...options, isLast: true })).toMatchObject({ return_state: false });
  });
});

describe("a result", () => {
  it("brings back state, logits and counts", () => {
    fc.assert(
      fc.property(kvs, positions, fc.nat(200), fc.boolean(), (kv, position, first, hasLogits) => {
        const model = modelOf(kv);
        const state = stateOf(model, position, first);
        const logits = hasLogits ? Array.from({ length: 50 }, (_, i) => i / 4) : undefined;
        const facts = { prompt_tokens: "3", completion_tokens: "4", computed_tokens: "7" };
        const payload = resultOf(model, { state, logits, facts });
        expect(payload.byteLength).toBeLessThanOrEqual(resultLimitBytes(model));
        expect(decodeResult(payload, model)).toEqual({
          state,
          ...(logits && { logits: Float32Array.from(logits) }),
          finishReason: "length",
          promptTokens: 3,
          completionTokens: 4,
          computedTokens: 7,
        });
      }),
      { seed: 5 },
    );
  });

  it.each([
    ["5", 5],
    ['"\\n"', "\n"],
  ])("says what ended the reply: %s", (stopped_by, expected) => {
    const payload = resultOf(small, { state: emptyState(small.layout), facts: { finish_reason: "stop", stopped_by } });
    expect(decodeResult(payload, small).stoppedBy).toBe(expected);
  });

  it("is refused wherever it is cut off, and with a byte more", async () => {
    const payload = resultOf(small, { state: stateOf(small, 4), logits: Array(50).fill(1) });
    for (let at = 0; at < payload.byteLength; at++) {
      expect((await faultOf(() => decodeResult(payload.slice(0, at), small))).code).toBe("origin_failed");
    }
    const longer = Uint8Array.from([...payload, 0]);
    expect((await faultOf(() => decodeResult(longer, small))).message).toMatch(/follow/);
  });

  it.each(["checkpoint", "graph"])("is refused when its %s is another one", async (name) => {
    for (const hash of ["0".repeat(64), undefined]) {
      const payload = resultOf(small, { state: stateOf(small, 4), facts: { [name]: hash } });
      expect(await faultOf(() => decodeResult(payload, small))).toMatchObject({
        code: "origin_failed",
        message: expect.stringMatching(/another checkpoint or graph/),
      });
    }
  });

  it.each([
    ["format", "griffin_state"],
    ["format_version", "2"],
    ["position", "-1"],
    ["position", "2147483648"],
    ["position", undefined],
    ["finish_reason", "tired"],
    ["prompt_tokens", "1e3"],
    ["completion_tokens", undefined],
    ["computed_tokens", ""],
  ])("is refused when its %s is %s", async (name, value) => {
    const payload = resultOf(small, { state: stateOf(small, 4), facts: { [name]: value } });
    expect((await faultOf(() => decodeResult(payload, small))).code).toBe("origin_failed");
  });

  it.each([undefined, "null", "-1", "{", '["a"]'])("is refused when it was stopped by %s", async (stopped_by) => {
    const payload = resultOf(small, { state: stateOf(small, 4), facts: { finish_reason: "stop", stopped_by } });
    expect((await faultOf(() => decodeResult(payload, small))).code).toBe("origin_failed");
  });

  it("is refused with the state of another layout, or with other logits", async () => {
    const other = resultOf(modelOf("f32"), { state: stateOf(modelOf("f32"), 4) });
    expect((await faultOf(() => decodeResult(other, small))).message).toMatch(/layers\.1\.keys is not BF16/);
    const logits = resultOf(small, { state: stateOf(small, 4), logits: [1, 2] });
    expect((await faultOf(() => decodeResult(logits, small))).message).toMatch(/logits is not F32 \[50\]/);
  });
});

describe("a frame of tokens", () => {
  const decode = (value: unknown) => decodeTokens(new TextEncoder().encode(JSON.stringify(value)), 50);

  it("gives each token its reports", () => {
    expect(decode({ tokens: [17, 5], later: true })).toEqual([{ token: 17 }, { token: 5 }]);
    const top = [[[17, -0.25], [9, -2]], []]; // prettier-ignore
    expect(decode({ tokens: [17, 5], log_probabilities: [-0.25, -1.5], top })).toEqual([
      {
        token: 17,
        logProbability: -0.25,
        top: [
          { token: 17, logProbability: -0.25 },
          { token: 9, logProbability: -2 },
        ],
      },
      { token: 5, logProbability: -1.5, top: [] },
    ]);
  });

  it.each([
    [{ tokens: [] }],
    [{ tokens: [50] }],
    [{ tokens: [-1] }],
    [{ tokens: [1.5] }],
    [{ tokens: [1, 2], log_probabilities: [-1] }],
    [{ tokens: [1], top: [] }],
    [[1]],
  ])("is refused as %j", async (value) => {
    expect((await faultOf(() => decode(value))).code).toBe("origin_failed");
  });
});
