import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { finalView, readTurn } from "../../src/http/turn-events.ts";
import { collect, eventsOf, finished } from "./turns.ts";

const seed = 20_261_123;

function streamOf(bytes: Uint8Array, size: number, onCancel: () => void = () => undefined): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (at >= bytes.length) return controller.close();
        controller.enqueue(bytes.subarray(at, (at += size)));
      },
      cancel: onCancel,
    },
    { highWaterMark: 0 },
  );
}

const encode = (events: unknown[]) =>
  new TextEncoder().encode(events.map((event) => `${JSON.stringify(event)}\n`).join(""));

describe("reading a turn", () => {
  it("finds the events whatever the pieces they come in", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme" })),
        fc.integer({ min: 1, max: 50 }),
        async (texts, size) => {
          const events = eventsOf(finished, texts);
          expect(await collect(readTurn(streamOf(encode(events), size)).events)).toEqual(events);
        },
      ),
      { seed, numRuns: 50 },
    );
  });

  it("gives the turn as it ended, and its tokens on the way", async () => {
    const tokens: number[] = [];
    const { events } = readTurn(streamOf(encode(eventsOf(finished, ["a", "b"])), 10));
    expect(await finalView(events, ({ token }) => tokens.push(token))).toEqual(finished);
    expect(tokens).toEqual([100, 101]);
  });

  it("fails when the stream ends before the turn", async () => {
    const cut = encode(eventsOf(finished, ["a", "b"]).slice(0, -1));
    await expect(collect(readTurn(streamOf(cut, 10)).events)).rejects.toMatchObject({ code: "internal" });
  });

  it("ends at once when it is abandoned or its signal aborts, and lets the turn know", async () => {
    for (const how of ["abandon", "signal", "signal before"] as const) {
      let isCancelled = false;
      const silent = new ReadableStream<Uint8Array>({ cancel: () => void (isCancelled = true) });
      const abort = new AbortController();
      if (how === "signal before") abort.abort();
      const { events, abandon } = readTurn(silent, abort.signal);
      const next = events.next();
      if (how === "abandon") abandon();
      else abort.abort();
      await expect(next).rejects.toMatchObject({ code: "internal" });
      expect(isCancelled).toBe(true);
    }
  });

  it("reads nothing that nobody takes", async () => {
    let pulls = 0;
    const endless = new ReadableStream<Uint8Array>(
      { pull: (controller) => (pulls++, controller.enqueue(encode([{ type: "token" }]))) },
      { highWaterMark: 0 },
    );
    const { events } = readTurn(endless);
    await events.next();
    await events.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pulls).toBe(2);
  });
});
