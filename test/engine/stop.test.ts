import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createStopMatcher } from "../../src/engine/stop.ts";

/** Feeds pieces until a stop string is complete; what was released, and which it was. */
function feed(stops: readonly string[], pieces: readonly string[]) {
  const matcher = createStopMatcher(stops);
  let text = "";
  for (const piece of pieces) {
    const released = matcher.push(piece);
    text += released.text;
    if (released.stoppedBy !== undefined) return { text, stoppedBy: released.stoppedBy };
  }
  return { text: text + matcher.end() };
}

/** The plainest reading: the shortest prefix of the text that ends in a stop string, the longest such string. */
function plain(stops: readonly string[], text: string) {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, end - found.length), stoppedBy: found };
  }
  return { text };
}

const letters = (most: number, least = 0) =>
  fc.array(fc.constantFrom("a", "b", "c", "😀"), { minLength: least, maxLength: most }).map((list) => list.join(""));

describe("stop strings", () => {
  it("end the reply at the same place however the text is cut into pieces", () => {
    fc.assert(
      fc.property(
        fc.array(letters(4, 1), { maxLength: 4 }),
        fc.array(letters(5), { maxLength: 12 }),
        (stops, pieces) => {
          expect(feed(stops, pieces)).toEqual(plain(stops, pieces.join("")));
        },
      ),
      { seed: 11, numRuns: 2000 },
    );
  });

  it("hold back only what may still become one", () => {
    const matcher = createStopMatcher(["###"]);
    expect(matcher.push("one # two ##")).toEqual({ text: "one # two " });
    expect(matcher.push("x")).toEqual({ text: "##x" });
    expect(matcher.push("##")).toEqual({ text: "" });
    expect(matcher.push("# rest")).toEqual({ text: "", stoppedBy: "###" });
  });

  it("release what was held when the reply ends without one", () => {
    const matcher = createStopMatcher(["END"]);
    expect(matcher.push("the EN")).toEqual({ text: "the " });
    expect(matcher.end()).toBe("EN");
  });
});
