// Tokenizer: text never becomes a control token, and decoding streams without splitting a character.
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { gemmaTokenizer } from "./gemma-tokenizer.ts";

const pocketJson: unknown = JSON.parse(readFileSync("models/pocket/tokenizer.json", "utf8"));
const pocket = new Tokenizer(pocketJson);
const gemma = new Tokenizer(gemmaTokenizer());
const both = { pocket, "Gemma's layout": gemma };

const lookAlikes = [
  "<start_of_turn>",
  "<end_of_turn>",
  "<bos>",
  "<eos>",
  "<pad>",
  "<unk>",
  "<start_",
  "of_turn>",
  "<start_<start_of_turn>of_turn>",
  "＜bos＞",
  "<0x4A>",
  "\n",
  "\n\n",
  " ",
  "  ",
  "</h1>",
];
/** Any code units, lone surrogates among them, mixed with what looks like control tokens. */
const texts = fc
  .array(fc.oneof(fc.constantFrom(...lookAlikes), fc.string({ unit: "binary" }), fc.string(), loneSurrogates()))
  .map((parts) => parts.join(""));

function loneSurrogates() {
  return fc.integer({ min: 0xd800, max: 0xdfff }).map((unit) => String.fromCharCode(unit));
}

describe.each(Object.entries(both))("encodeText with %s", (_, tokenizer) => {
  it("never returns a control token, and decodes to the same text", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const ids = tokenizer.encodeText(text);
        expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.size)).toBe(true);
        expect(ids.filter((id) => tokenizer.controlTokenIds.has(id))).toEqual([]);
        expect(tokenizer.decode(ids)).toBe(text.toWellFormed().replaceAll("▁", " "));
      }),
      { seed: 7, numRuns: 1000 },
    );
  });

  it("has ids for control tokens by content", () => {
    for (const content of ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]) {
      const id = tokenizer.idOf(content);
      expect(id).toBeDefined();
      expect([...tokenizer.controlTokenIds]).toContain(id);
    }
    expect(tokenizer.idOf("<no such token>")).toBeUndefined();
  });
});

describe("encodeText", () => {
  it("gives the ids of Hugging Face's tokenizers for pocket", () => {
    // From the Rust library, tokenizers 0.23.3, on the same file.
    expect(pocket.encodeText("Hello there,  my friend! What is 12+30?\nTell me a story about a dog.")).toEqual([
      793, 452, 2002, 1974, 364, 640, 553, 2020, 1522, 281, 1974, 2007, 2011, 2046, 2016, 2035, 1998, 6, 445, 300, 263,
      346, 354, 263, 533, 1988,
    ]);
    expect(pocket.encodeText("👩‍👩‍👧 é  x  <b")).toEqual([
      247, 166, 152, 176, 233, 135, 148, 247, 166, 152, 176, 233, 135, 148, 247, 166, 152, 174, 1974, 202, 176, 1974,
      1974, 2030, 1974, 1974, 67, 1991,
    ]);
  });

  it.each(["pocket", "Gemma's layout"] as const)(
    "has the ids of the text encoded at once, wherever it is cut: %s",
    (name) => {
      const json = name === "pocket" ? pocketJson : gemmaTokenizer();
      // With another step in front, which changes nothing, it cannot be known where to cut.
      const whole = new Tokenizer({
        ...(json as object),
        normalizer: { type: "Sequence", normalizers: [(json as { normalizer: unknown }).normalizer] },
      });
      const words = fc.constantFrom(
        "hello",
        "world",
        " ",
        "  ",
        "▁",
        "▁▁",
        "he",
        "llo.",
        "\u{1f98a}",
        "\n",
        "\n ",
        "</h1>",
        "The",
      );
      const text = fc.array(fc.oneof(words, fc.string({ unit: "binary" }))).map((parts) => parts.join(""));
      fc.assert(
        fc.property(fc.oneof(text, texts), (each) => {
          expect(both[name].encodeText(each)).toEqual(whole.encodeText(each));
        }),
        { numRuns: 1_000 },
      );
    },
  );

  it("is not cut where a token reaches over a space", () => {
    const json = gemmaTokenizer();
    const id = Object.keys(json.model.vocab).length;
    const joined = { ...json.model.vocab, "lo▁": id, "lo▁w": id + 1 };
    const model = { ...json.model, vocab: joined, merges: [...json.model.merges, "lo ▁", "lo▁ w"] };
    const ids = new Tokenizer({ ...json, model }).encodeText("lo world");
    const whole = new HuggingFaceTokenizer({ ...json, model } as never, {});
    expect(ids).toEqual(whole.encode("lo world", { add_special_tokens: false }).ids);
  });

  it("keeps plain added tokens: newlines, runs of them and HTML tags", () => {
    const ids = (contents: string[]) => contents.map((content) => gemma.idOf(content));
    expect(gemma.encodeText("hello\n\n\n\n</h1><table> world")).toEqual(
      ids(["hello", "\n\n\n", "\n", "</h1>", "<table>", "▁world"]),
    );
  });

  it("does not take a route of merges to a control token or to the spelling of a byte", () => {
    const json = gemmaTokenizer();
    const reckless = new HuggingFaceTokenizer(
      {
        ...json,
        added_tokens: json.added_tokens.filter(({ content }) => content !== "<start_of_turn>"),
        post_processor: null,
      },
      {},
    );
    expect(reckless.encode("<start_of_turn>").ids).toEqual([gemma.idOf("<start_of_turn>")]);
    expect(gemma.encodeText("<start_of_turn>")).toEqual([gemma.idOf("<start_of_turn"), gemma.idOf(">")]);
    expect(gemma.encodeText("<0x4A>")).toEqual([gemma.idOf("<0x4A"), gemma.idOf(">")]);
    expect(gemma.decode(gemma.encodeText("<0x4A>"))).toBe("<0x4A>");
  });

  it("does not reach a control token through another spelling with its id", () => {
    const json = gemmaTokenizer();
    const eos = json.model.vocab["<eos>"] ?? 0;
    json.model.vocab["q"] = eos;
    const aliased = new Tokenizer(json);
    expect(aliased.encodeText("aqa")).not.toContain(eos);
    expect(aliased.decode(aliased.encodeText("aqa"))).toBe("aqa");
  });

  it("does not return a turn token that stands among the added tokens alone", () => {
    const json = gemmaTokenizer();
    const { "<end_of_turn>": end, ...vocab } = json.model.vocab;
    const tokenizer = new Tokenizer({ ...json, model: { ...json.model, vocab } });
    expect(tokenizer.idOf("<end_of_turn>")).toBe(end);
    expect(tokenizer.encodeText("hello<end_of_turn>")).not.toContain(end);
  });

  it("takes a lone surrogate for U+FFFD, where that is a token too", () => {
    const json = gemmaTokenizer();
    const replacement = Object.keys(json.model.vocab).length;
    json.model.vocab["\ufffd"] = replacement;
    expect(new Tokenizer(json).encodeText("\ud800")).toEqual([replacement]);
  });

  it("does not add bos, whatever the file's post-processor says", () => {
    expect(gemma.encodeText("hello")).toEqual([gemma.idOf("hello")]);
    expect(gemma.encodeText("")).toEqual([]);
  });
});

describe("the streaming decoder", () => {
  it("never splits a character, and its pieces are the text of all ids at once", () => {
    const anyIds = fc.array(fc.oneof(fc.nat(gemma.size + 3), fc.integer({ min: 14, max: 269 })), { maxLength: 60 });
    fc.assert(
      fc.property(anyIds, (ids) => {
        const decoder = gemma.createDecoder();
        const pieces = [...ids.map((id) => decoder.push(id)), decoder.end()];
        expect(pieces.join("")).toBe(gemma.decode(ids));
        for (const piece of pieces) expect(piece.isWellFormed()).toBe(true);
      }),
      { seed: 11, numRuns: 1000 },
    );
  });

  const byte = (value: number) => pocket.idOf(`<0x${value.toString(16).toUpperCase().padStart(2, "0")}>`) ?? -1;
  const letter = pocket.encodeText("a")[0] ?? -1;

  it("holds an emoji until its last byte", () => {
    const decoder = pocket.createDecoder();
    expect([0xf0, 0x9f, 0x91, 0xa9].map((b) => decoder.push(byte(b)))).toEqual(["", "", "", "👩"]);
    expect(decoder.end()).toBe("");
  });

  it("gives U+FFFD for a broken character as soon as it is broken", () => {
    const decoder = pocket.createDecoder();
    expect([byte(0xf0), byte(0x9f), letter].map((id) => decoder.push(id))).toEqual(["", "", "\ufffda"]);
    expect([byte(0xff), byte(0x80)].map((id) => decoder.push(id))).toEqual(["\ufffd", "\ufffd"]);
  });

  it("gives U+FFFD for a character that never ends, and starts anew", () => {
    const decoder = pocket.createDecoder();
    decoder.push(byte(0xe2));
    expect(decoder.end()).toBe("\ufffd");
    expect(decoder.push(letter)).toBe("a");
  });

  it("never holds more than one character back, however many broken bytes come", () => {
    const decoder = pocket.createDecoder();
    let heldTokens = 0;
    for (let i = 0; i < 1000; i++) {
      heldTokens = decoder.push(byte(0xf0 + (i % 5))) === "" ? heldTokens + 1 : 0;
      expect(heldTokens).toBeLessThan(4);
    }
  });

  it("keeps a byte order mark, and gives no text for control tokens", () => {
    expect(pocket.decode([...pocket.encodeText("\ufeffa"), pocket.idOf("<end_of_turn>") ?? -1])).toBe("\ufeffa");
  });

  it("keeps two decoders apart", () => {
    const one = pocket.createDecoder();
    const two = pocket.createDecoder();
    one.push(byte(0xc3));
    expect(two.push(letter)).toBe("a");
    expect(one.push(byte(0xa9))).toBe("é");
  });
});

const change = (patch: (json: ReturnType<typeof gemmaTokenizer>) => object) => () =>
  new Tokenizer(patch(gemmaTokenizer()));

describe("a tokenizer.json of another kind", () => {
  it.each([
    ["Unigram", change((j) => ({ ...j, model: { type: "Unigram", unk_id: 0, vocab: [["a", 0]] } })), "Unigram"],
    ["no byte fallback", change((j) => ({ ...j, model: { ...j.model, byte_fallback: false } })), "byte_fallback"],
    ["an end-of-word mark", change((j) => ({ ...j, model: { ...j.model, end_of_word_suffix: "</w>" } })), "suffix"],
    ["another decoder", change((j) => ({ ...j, decoder: { type: "ByteLevel" } })), "ByteFallback"],
    [
      "a decoder that strips",
      change((j) => ({ ...j, decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Strip" }] } })),
      "Strip",
    ],
    ["an unknown normalizer", change((j) => ({ ...j, normalizer: { type: "Magic" } })), "Magic"],
    [
      "a missing byte",
      change((j) => {
        const { "<0x7F>": _, ...vocab } = j.model.vocab;
        return { ...j, model: { ...j.model, vocab } };
      }),
      "<0x7F>",
    ],
  ])("is not supported: %s", (_, make, names) => {
    expect(make).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(make).toThrow(names);
  });

  it.each([
    ["not an object", () => new Tokenizer("tokenizer"), "tokenizer.json"],
    ["no model", () => new Tokenizer({ added_tokens: [] }), "model"],
    [
      "a token id that is no number",
      change((j) => ({ ...j, model: { ...j.model, vocab: { ...j.model.vocab, a: "1" } } })),
      '"a"',
    ],
    [
      "a token id out of all proportion",
      change((j) => ({ ...j, model: { ...j.model, vocab: { ...j.model.vocab, a: 1e9 } } })),
      '"a"',
    ],
    ["an added token without content", change((j) => ({ ...j, added_tokens: [{ id: 3 }] })), "added_tokens.0.content"],
  ])("is malformed: %s", (_, make, names) => {
    expect(make).toThrow(expect.objectContaining({ code: "invalid_checkpoint" }));
    expect(make).toThrow(names);
  });
});
