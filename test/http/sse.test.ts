import fc from "fast-check";
import { Stream } from "openai/streaming";
import { describe, expect, it } from "vitest";
import { liveBody, sseFiller } from "../../src/http/live-body.ts";
import { doneMessage, encodeMessage } from "../../src/http/sse.ts";
import { collect } from "./turns.ts";

const seed = 20_261_123;
const ignore = () => undefined;

async function* listOf(...messages: string[]) {
  yield* messages;
}

/** Reads a stream with openai's own decoder, which stops at [DONE]. */
const decode = (body: BodyInit) => collect(Stream.fromSSEResponse<unknown>(new Response(body), new AbortController()));

describe("server-sent events", () => {
  it("bring any text through, in any pieces", async () => {
    const text = fc.string({
      unit: fc.constantFrom("\n", "\r", "\r\n", "\u2028", "data: ", ":", "\u0000", "é", "🦊", "\ud800"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(text, fc.string())), fc.integer({ min: 1, max: 7 }), async (texts, size) => {
        const values = texts.map((value) => ({ text: value }));
        const messages = values.map((value, index) => encodeMessage(value, index % 2 ? "some.event" : undefined));
        const bytes = new Uint8Array(
          await new Response(liveBody(listOf(...messages, doneMessage), ignore, sseFiller)).arrayBuffer(),
        );
        const pieces = new ReadableStream<Uint8Array>({
          start(controller) {
            for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.subarray(at, at + size));
            controller.close();
          },
        });
        expect(await decode(pieces)).toEqual(values);
      }),
      { seed, numRuns: 60 },
    );
  });

  it("are one line of data each, behind their event", () => {
    expect(encodeMessage({ text: "a\nb" }, "note")).toBe('event: note\ndata: {"text":"a\\nb"}\n\n');
    expect(encodeMessage([])).toBe("data: []\n\n");
  });

  it("have a comment in them while nothing comes, which no client sees", async () => {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    async function* messages() {
      yield encodeMessage(1);
      await late;
      yield encodeMessage(2);
    }
    const reader = liveBody(messages(), ignore, { ...sseFiller, everyMs: 5 }).getReader();
    const utf8 = new TextDecoder();
    const read = async () => utf8.decode((await reader.read()).value);
    expect(await read()).toBe("data: 1\n\n");
    expect(await read()).toMatch(/^:[^\n]*\n\n$/);
    expect(await read()).toMatch(/^:[^\n]*\n\n$/);
    resolve();
    let last = await read();
    while (last.startsWith(":")) last = await read();
    expect(last).toBe("data: 2\n\n");
    expect(await reader.read()).toEqual({ done: true, value: undefined });
    expect(await decode(": hello\n\ndata: 1\n\n: hello\n\ndata: [DONE]\n\n")).toEqual([1]);
  });

  it("are made no faster than they are read", async () => {
    let made = 0;
    async function* messages() {
      for (;;) yield encodeMessage(made++);
    }
    const reader = liveBody(messages(), ignore, sseFiller).getReader();
    for (let i = 0; i < 3; i++) await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(made).toBe(3);
  });

  it("abandon what they are made of when the reader goes", async () => {
    let isAbandoned = false;
    const { promise: never } = Promise.withResolvers<void>();
    async function* messages() {
      yield encodeMessage(1);
      await never;
    }
    const reader = liveBody(messages(), () => void (isAbandoned = true), sseFiller).getReader();
    await reader.read();
    const pending = reader.read();
    await reader.cancel();
    await pending;
    expect(isAbandoned).toBe(true);
  });
});
