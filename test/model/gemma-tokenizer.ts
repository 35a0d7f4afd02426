// A small tokenizer.json in Gemma's real layout: turn tokens that are not marked special, runs of newlines and HTML tags
// among the added tokens. Worse than Gemma's on purpose: its merges can spell control tokens and byte tokens.

const control = ["<pad>", "<eos>", "<bos>", "<unk>"];
const turns = ["<start_of_turn>", "<end_of_turn>"];
const plainAdded = ["<mask>", "\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "<table>", "</h1>"];
const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
const characters = [..."▁<>_/0xabcdefghijklmnopqrstuvwyz.,A4"];
const words = ["he", "hel", "lo", "hello", "▁w", "or", "▁wor", "ld", "▁world"];
const wordMerges = ["h e", "he l", "l o", "hel lo", "▁ w", "o r", "▁w or", "l d", "▁wor ld"];

/** Merges, and the tokens between, that build `content` from its characters, left to right. */
function route(content: string): { tokens: string[]; merges: string[] } {
  const steps = [...content].slice(1).map((next, i): [string, string] => [content.slice(0, i + 1), next]);
  return { tokens: steps.map((pair) => pair.join("")), merges: steps.map((pair) => pair.join(" ")) };
}

/** The value of the tokenizer.json. */
export function gemmaTokenizer() {
  const routes = ["<start_of_turn>", "<end_of_turn>", "<bos>", "<0x4A>"].map(route);
  const contents = [
    ...new Set([
      ...control,
      ...turns,
      ...plainAdded,
      ...bytes,
      ...characters,
      ...words,
      ...routes.flatMap((r) => r.tokens),
    ]),
  ];
  const vocab = Object.fromEntries(contents.map((content, id) => [content, id]));
  const added = (content: string) => ({
    id: contents.indexOf(content),
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: control.includes(content),
  });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...control, ...turns, ...plainAdded].map(added),
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<bos>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<bos>": { id: "<bos>", ids: [2], tokens: ["<bos>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocab as Record<string, number>,
      merges: [...wordMerges, ...new Set(routes.flatMap((r) => r.merges))],
    },
  };
}
