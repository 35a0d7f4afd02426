import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatId, parseId, type IdKind } from "../../src/http/ids.ts";
import { chatName, hashedName, randomName } from "../../src/http/object-names.ts";
import { objectName } from "./turns.ts";

const seed = 20_261_123;
const kinds: IdKind[] = ["conversation", "response", "chat completion"];
const name = fc.string({ unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz234567"), minLength: 32, maxLength: 32 });

describe("an id", () => {
  it("comes back from its text", () => {
    fc.assert(
      fc.property(fc.constantFrom(...kinds), name, fc.nat(999_999_999), (kind, object, number) => {
        expect(parseId(kind, formatId(kind, { object, number }))).toEqual({ object, number });
      }),
      { seed },
    );
  });

  it("has one text only", () => {
    fc.assert(
      fc.property(fc.constantFrom(...kinds), fc.string(), fc.nat(999_999_999), (kind, noise, number) => {
        const text = formatId(kind, { object: objectName, number });
        for (const other of [`${text}${noise}`, `${noise}${text}`, noise]) {
          try {
            expect(formatId(kind, parseId(kind, other))).toBe(other);
          } catch (error) {
            expect(error).toMatchObject({ code: "not_found" });
          }
        }
      }),
      { seed },
    );
  });

  it.each([
    ["of another kind", `resp_${objectName}_1`],
    ["with a short name", `conv_${objectName.slice(1)}_1`],
    ["with a leading zero", `conv_${objectName}_01`],
    ["with a sign", `conv_${objectName}_-1`],
    ["with too large a number", `conv_${objectName}_1000000000`],
    ["with a capital letter", `conv_A${objectName.slice(1)}_1`],
    ["with a line break after it", `conv_${objectName}_1\n`],
    ["of nothing", ""],
  ])("%s is as unknown as any", (_, text) => {
    expect(() => parseId("conversation", text)).toThrow("There is no conversation with this id.");
  });
});

describe("a name", () => {
  it("fits into an id, at random and hashed", async () => {
    for (const object of [randomName(), await hashedName("a"), await hashedName()]) {
      expect(parseId("response", formatId("response", { object, number: 0 }))).toEqual({ object, number: 0 });
    }
    expect(randomName()).not.toBe(randomName());
  });

  it("is SHA-256 over each part behind its length, in base 32", async () => {
    const bytes = new Uint8Array([0, 0, 0, 1, 97, 0, 0, 0, 2, 0xc3, 0xa9]);
    const digest = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).subarray(0, 20);
    const bits = [...digest].map((byte) => byte.toString(2).padStart(8, "0")).join("");
    const expected = bits.match(/.{5}/g)!.map((five) => "abcdefghijklmnopqrstuvwxyz234567"[Number.parseInt(five, 2)]);
    expect(await hashedName("a", "é")).toBe(expected.join(""));
  });

  it("differs where the parts differ, wherever they are cut", async () => {
    const list = fc.array(fc.string({ maxLength: 4 }), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(list, list, async (a, b) => {
        const isSame = JSON.stringify(a) === JSON.stringify(b);
        expect((await hashedName(...a)) === (await hashedName(...b))).toBe(isSame);
      }),
      {
        seed,
        examples: [
          [
            ["ab", "c"],
            ["a", "bc"],
          ],
          [["a"], ["a", ""]],
          [[], [""]],
        ],
      },
    );
  });

  it("of a chat follows its model and its beginning up to the first user's message", async () => {
    const system = { role: "system", content: "Be brief." } as const;
    const first = { role: "user", content: "I am Ada." } as const;
    const reply = { role: "assistant", content: "Hi." } as const;
    const of = await chatName("pocket", [system, first]);
    expect(await chatName("pocket", [system, first, reply, { role: "user", content: "Who am I?" }])).toBe(of);
    expect(await chatName("other", [system, first])).not.toBe(of);
    expect(await chatName("pocket", [first])).not.toBe(of);
    expect(await chatName("pocket", [system, { ...first, content: "I am Bob." }])).not.toBe(of);
    expect(await chatName("pocket", [{ ...system, role: "user" }, first])).not.toBe(of);
    expect(await chatName("pocket", [system])).not.toBe(of);
  });
});
