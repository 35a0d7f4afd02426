import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readEvents } from "../../src/page/event-stream.ts";

const utf8 = new TextEncoder();

/** The events of a stream whose bytes come in pieces of these sizes, over and over. */
async function eventsOf(text: string, sizes: readonly number[]): Promise<string[]> {
  const bytes = utf8.encode(text);
  async function* chunks() {
    for (let at = 0, turn = 0; at < bytes.length; turn++) yield bytes.subarray(at, (at += sizes[turn % sizes.length]!));
  }
  const events: string[] = [];
  for await (const event of readEvents(chunks())) events.push(event);
  return events;
}

describe("the event stream", () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 });
  const lineEnd = fc.constantFrom("\n", "\r\n", "\r");

  it("gives the same events however its bytes are cut, with any line ends", async () => {
    const values = fc.array(fc.record({ delta: fc.string({ unit: "grapheme" }) }));
    await fc.assert(
      fc.asyncProperty(values, sizes, lineEnd, async (events, cut, end) => {
        const lines = events.map(
          (event) => `event: x${end}data: ${JSON.stringify(event)}${end}${end}: still here${end}${end}`,
        );
        const read = await eventsOf(lines.join(""), cut);
        expect(read.map((data) => JSON.parse(data) as unknown)).toEqual(events);
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  it("joins data lines, and ends at [DONE]", async () => {
    expect(await eventsOf("data: a\ndata:b\n\ndata: [DONE]\n\ndata: c\n\n", [3])).toEqual(["a\nb"]);
  });

  it("drops an event that was cut off", async () => {
    expect(await eventsOf("data: a\n\ndata: b\n", [5])).toEqual(["a"]);
  });
});
