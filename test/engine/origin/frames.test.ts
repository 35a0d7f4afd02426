// Frames come out of a stream as they went in, wherever it is cut; what is cut off or too long is refused.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readFrames, type Frame, type ReadChunk } from "../../../src/engine/origin/frames.ts";
import { collect, faultOf, frameOf } from "./models.ts";

const resultLimit = 40;

/** A stream that comes in these chunks, and how many of them were taken. */
function chunksOf(chunks: readonly Uint8Array[]): { read: ReadChunk; taken: () => number } {
  let taken = 0;
  return { read: async () => chunks[taken++]?.slice(), taken: () => taken };
}

async function framesOf(chunks: readonly Uint8Array[]): Promise<Frame[]> {
  return collect(readFrames(chunksOf(chunks).read, resultLimit));
}

const concat = (parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

const frame = fc.record({
  kind: fc.constantFrom(1, 2, 3, 9, 255),
  payload: fc.uint8Array({ maxLength: resultLimit }).map((bytes) => Uint8Array.from(bytes)),
});

describe("frames", () => {
  it("come as they were sent, in any chunks, those of unknown kinds left out", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(frame), fc.array(fc.integer({ min: 0, max: 9 })), async (frames, sizes) => {
        let rest = concat(frames.map(({ kind, payload }) => frameOf(kind, payload)));
        const chunks = sizes.map((size) => {
          const chunk = rest.subarray(0, size);
          rest = rest.subarray(size);
          return chunk;
        });
        const known = frames.filter(({ kind }) => kind < 9);
        expect(await framesOf([...chunks, rest])).toEqual(known);
      }),
      { seed: 11 },
    );
  });

  it("come whole when the stream is cut in two at any byte", async () => {
    const sent = [
      frameOf("waiting"),
      frameOf("tokens", { tokens: [1] }),
      frameOf(7, { a: 1 }),
      frameOf("result", { b: 2 }),
    ];
    const bytes = concat(sent);
    const whole = await framesOf([bytes]);
    expect(whole.map(({ kind }) => kind)).toEqual([0, 1, 2]);
    for (let at = 0; at <= bytes.byteLength; at++) {
      expect(await framesOf([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(whole);
    }
  });

  it("end with the stream only between two of them", async () => {
    const sent = [frameOf("tokens", { tokens: [1] }), frameOf(7, { a: 1 }), frameOf("result", { b: 2 })];
    const bytes = concat(sent);
    const ends = new Set(sent.map((_, i) => concat(sent.slice(0, i)).byteLength));
    for (let at = 0; at < bytes.byteLength; at++) {
      const cut = [bytes.subarray(0, at)];
      if (ends.has(at)) await framesOf(cut);
      else expect(await faultOf(() => framesOf(cut))).toMatchObject({ code: "origin_failed", message: /broke off/ });
    }
  });

  it.each([
    ["waiting", 0, 1],
    ["tokens", 1, 2 ** 20 + 1],
    ["result", 2, resultLimit + 1],
    ["error", 3, 2 ** 16 + 1],
  ])("of kind %s are refused by their length alone when they are too long", async (_, kind, bytes) => {
    const head = frameOf(kind);
    new DataView(head.buffer).setUint32(1, bytes, true);
    const stream = chunksOf([head, new Uint8Array(9)]);
    const read = () => collect(readFrames(stream.read, resultLimit));
    expect(await faultOf(read)).toMatchObject({
      code: "origin_failed",
      message: expect.stringContaining(`${bytes} bytes`),
    });
    expect(stream.taken()).toBe(1);
  });

  it("are read one at a time, and no further than was asked", async () => {
    const stream = chunksOf([frameOf("waiting"), frameOf("tokens", { tokens: [1] }), frameOf("waiting")]);
    const frames = readFrames(stream.read, resultLimit);
    await frames.next();
    expect(stream.taken()).toBe(1);
    await frames.next();
    expect(stream.taken()).toBe(2);
  });

  it("of unknown kinds may be longer than memory: they are not held", async () => {
    const head = frameOf(200);
    const chunk = new Uint8Array(2 ** 20);
    new DataView(head.buffer).setUint32(1, 2 ** 32 - 1, true);
    let sent = -1;
    const read: ReadChunk = async () => {
      sent += 1;
      if (sent === 0) return head;
      if (sent < 4096) return chunk;
      return sent === 4096 ? chunk.subarray(1) : undefined;
    };
    expect(await collect(readFrames(read, resultLimit))).toEqual([]);
  });
});
