// What is made of an input file before anything of it runs.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { linesOf, requestOf } from "../../src/batch/lines.ts";
import { packStretches, planOf, unpackStretches, type Plan } from "../../src/batch/plan.ts";
import { mostLines } from "../../src/batch/protocol.ts";

const utf8 = new TextEncoder();
const request = (customId: string, content = "Hi.") =>
  JSON.stringify({ custom_id: customId, method: "POST", url: "/v1/completions", body: { prompt: content } });

async function* once(bytes: Uint8Array) {
  yield bytes;
}
const planned = (text: string) => planOf(once(utf8.encode(text)), "/v1/completions");

async function plan(text: string): Promise<Plan> {
  const made = await planned(text);
  if ("code" in made) throw new Error(made.code);
  return made;
}

describe("the plan of a file", () => {
  it("has every request in exactly one stretch, which can be read without the rest of the file", async () => {
    const line = fc.oneof(
      { weight: 4, arbitrary: fc.nat(200).map((n) => request(`r${n}`)) },
      { weight: 1, arbitrary: fc.constantFrom("", "not json", "{}", "  \r") },
      { weight: 1, arbitrary: fc.nat(9).map((n) => request(`big${n}`, "x".repeat(200_000))) },
    );
    const property = fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 60 }), async (lines) => {
      const text = lines.join("\n");
      const bytes = utf8.encode(text);
      const made = await planned(text);
      if ("code" in made) return void expect(made.code).toBe("empty_file");
      const { total, stretches, malformed } = made;
      expect(total).toBe(lines.filter((each) => each.trim() !== "").length);
      const bad = new Set(malformed.map(({ line: number }) => number));
      const runnable: number[] = [];
      for (const { firstLine, lineCount, offset, length } of stretches) {
        const read = [...linesOf(bytes.slice(offset, offset + length), offset)];
        expect(read).toHaveLength(lineCount);
        for (const [i, each] of read.entries()) {
          if (bad.has(firstLine + i)) continue;
          runnable.push(firstLine + i);
          expect(requestOf(each, "/v1/completions").fault).toBeNull();
        }
      }
      expect(runnable).toEqual(Array.from({ length: total }, (_, i) => i).filter((i) => !bad.has(i)));
      for (const { lineCount, length } of stretches) {
        expect(lineCount - bad.size).toBeLessThanOrEqual(8);
        expect(lineCount === 1 || length <= 2 ** 19).toBe(true);
      }
    });
    await fc.assert(property, { seed: 3, numRuns: 60 });
  });

  it("takes of two lines with one id the first", async () => {
    const { total, malformed } = await plan([request("a"), request("b"), request("a")].join("\n"));
    expect(total).toBe(3);
    expect(malformed).toEqual([
      {
        line: 2,
        customId: "a",
        fault: {
          code: "duplicate_custom_id",
          message: "This custom_id is that of line 1.",
          param: "custom_id",
          line: 3,
        },
      },
    ]);
  });

  it("tells lines by their numbers in the file, blank ones counted", async () => {
    const { total, malformed } = await plan(["", request("a"), " ", "not json", "", request("a")].join("\n"));
    expect(total).toBe(3);
    expect(malformed).toMatchObject([
      { line: 1, fault: { code: "invalid_json_line", line: 4 } },
      { line: 2, fault: { message: "This custom_id is that of line 2.", line: 6 } },
    ]);
  });

  it("is none where the file is empty, or has too many lines", async () => {
    expect(await planned(" \n\n")).toMatchObject({ code: "empty_file" });
    expect(await plan("{}\n".repeat(mostLines))).toMatchObject({ total: mostLines, stretches: [] });
    expect(await planned("{}\n".repeat(mostLines + 1))).toMatchObject({ code: "too_many_tasks" });
  });

  it("is stored as numbers", () => {
    const stretches = [
      { firstLine: 0, lineCount: 8, offset: 0, length: 500 },
      { firstLine: 9, lineCount: 1, offset: 2 ** 33, length: 7 },
    ];
    expect(unpackStretches(packStretches(stretches))).toEqual(stretches);
    expect(unpackStretches(packStretches([]))).toEqual([]);
  });
});
