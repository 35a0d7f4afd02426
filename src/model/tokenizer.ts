// Tokenizer: tokenizer.json of Gemma's kind (BPE with byte fallback) to token ids and back.
// Encoding is @huggingface/tokenizers' over a copy of the file from which every control token is gone, so no text
// whatever can become one. Decoding is our own, because it must stream: a character is held until its last byte.
import { Tokenizer as HuggingFaceTokenizer, BPE } from "@huggingface/tokenizers";
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { checkShape } from "./parse-json.ts";

/** Control tokens whatever the file says of them: Gemma's own files do not always mark them special. */
const turnTokens = ["<start_of_turn>", "<end_of_turn>"];

const id = z.int("expected a token id").min(0, "expected a token id");
const pair = z.union([z.string(), z.tuple([z.string(), z.string()])], "expected a pair of tokens");
const step = z.looseObject({ type: z.string() });

const tokenizerJson = z.looseObject({
  added_tokens: z
    .array(z.looseObject({ id, content: z.string().min(1), special: z.boolean().default(false) }))
    .default([]),
  normalizer: step.nullish(),
  pre_tokenizer: step.nullish(),
  decoder: step.nullish(),
  model: z.looseObject({
    type: z.string().default("BPE"),
    vocab: z.unknown(),
    merges: z.array(pair).default([]),
    byte_fallback: z.boolean().default(false),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
});
type TokenizerJson = z.infer<typeof tokenizerJson>;

const file = "tokenizer.json";

const unsupported = (what: string, expected: string): GriffinError =>
  new GriffinError("unsupported", `${file}: ${what}; supported: ${expected}.`);

/** Turns ids into text piece by piece. The pieces together are the text of all ids at once. */
export interface TokenDecoder {
  /** The text that became certain; "" while a character's bytes are incomplete. Control tokens have no text. */
  push(tokenId: number): string;
  /** What was held back: U+FFFD for a character that never came to its end. The decoder starts anew. */
  end(): string;
}

/** A checkpoint's tokenizer. */
export class Tokenizer {
  /** Special and turn tokens: `encodeText` never returns one. */
  readonly controlTokenIds: ReadonlySet<number>;
  /** One more than the largest id. */
  readonly size: number;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #text: HuggingFaceTokenizer;
  readonly #cuts: Cuts | null;
  /** Id → UTF-8 of what it decodes to. */
  readonly #bytes: readonly (Uint8Array | undefined)[];

  /** From the value of tokenizer.json. Fails with `invalid_checkpoint` or `unsupported`, naming the part. */
  constructor(value: unknown) {
    const json = checkShape(tokenizerJson, value, file, "invalid_checkpoint");
    const vocab = readVocab(json);
    const { added_tokens: added } = json;
    this.#ids = new Map([...vocab, ...added.map((token) => [token.content, token.id] as const)]);
    const special = added.filter((token) => token.special).map((token) => token.id);
    const turns = turnTokens.map((content) => this.#ids.get(content)).filter((tokenId) => tokenId !== undefined);
    this.controlTokenIds = new Set([...special, ...turns]);
    this.#bytes = decodedBytes(json, this.#ids, this.controlTokenIds);
    this.size = this.#bytes.length;
    this.#text = textOnly(json, vocab, this.controlTokenIds);
    this.#cuts = cutsOf(json, vocab);
  }

  /** Ids of a text in which nothing is a control token, whatever it spells. Lone surrogates become U+FFFD. */
  encodeText(text: string): number[] {
    const known = new Map<string, number[]>();
    const ids: number[] = [];
    for (const word of wordsOf(text.toWellFormed(), this.#cuts)) {
      let of = known.get(word);
      if (of === undefined) known.set(word, (of = this.#text.encode(word, { add_special_tokens: false }).ids));
      for (const tokenId of of) ids.push(tokenId);
    }
    // The library keeps thousands of texts it has seen; users' words must not outlive their request.
    if (this.#text.model instanceof BPE) this.#text.model.clear_cache();
    return ids;
  }

  /** The id of the token spelt `content`, control tokens included. */
  idOf(content: string): number | undefined {
    return this.#ids.get(content);
  }

  /** UTF-8 of a token by itself, which may be part of a character; none for control tokens and unknown ids. */
  bytesOf(tokenId: number): Uint8Array | undefined {
    return this.#bytes[tokenId];
  }

  /** A decoder at the start of a text. */
  createDecoder(): TokenDecoder {
    // Streaming, this decoder keeps at most three bytes: those that may still become one character.
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (tokenId) => {
        const bytes = this.#bytes[tokenId];
        return bytes === undefined ? "" : utf8.decode(bytes, { stream: true });
      },
      end: () => utf8.decode(),
    };
  }

  /** The text of `tokenIds`; control tokens and ids without a token have none. */
  decode(tokenIds: Iterable<number>): string {
    const decoder = this.createDecoder();
    let text = "";
    for (const tokenId of tokenIds) text += decoder.push(tokenId);
    return text + decoder.end();
  }
}

const byteTokens: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 256 }, (_, byte) => [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, byte]),
);

/** The model's vocabulary, after checking that the model is one we know. */
function readVocab({ model }: TokenizerJson): ReadonlyMap<string, number> {
  if (model.type !== "BPE") throw unsupported(`its model is ${model.type}`, "BPE");
  if (!model.byte_fallback) throw unsupported("its model has no byte_fallback", "BPE with byte_fallback");
  if (model.continuing_subword_prefix || model.end_of_word_suffix) {
    throw unsupported("its model marks parts of words with a prefix or suffix", "BPE without such marks");
  }
  if (typeof model.vocab !== "object" || model.vocab === null || Array.isArray(model.vocab)) {
    throw new GriffinError("invalid_checkpoint", `${file}: "model.vocab": expected an object of token ids.`);
  }
  const vocab = new Map<string, number>();
  for (const [content, tokenId] of Object.entries<unknown>({ ...model.vocab })) {
    if (typeof tokenId !== "number" || !Number.isInteger(tokenId) || tokenId < 0 || tokenId > idLimit) {
      throw new GriffinError(
        "invalid_checkpoint",
        `${file}: "model.vocab" gives ${JSON.stringify(content)} the id ${JSON.stringify(tokenId)}.`,
      );
    }
    vocab.set(content, tokenId);
  }
  const missing = [...byteTokens.keys()].find((content) => !vocab.has(content));
  if (missing !== undefined) throw unsupported(`its vocabulary has no ${missing}`, "byte_fallback with all 256 bytes");
  return vocab;
}

/** As large as vocabularies in a Config may be. */
const idLimit = 2 ** 24;

/** The tokenizer that users' texts go through: no control token in its added tokens, its vocabulary or its merges. */
function textOnly(
  json: TokenizerJson,
  vocab: ReadonlyMap<string, number>,
  controlTokenIds: ReadonlySet<number>,
): HuggingFaceTokenizer {
  const plain = new Map([...vocab].filter(([, tokenId]) => !controlTokenIds.has(tokenId)));
  // A merge may only make a plain token: not a control token, and not the spelling of a byte.
  const merges = json.model.merges.filter((merge) => {
    const made = typeof merge === "string" ? merge.replace(" ", "") : merge.join("");
    return plain.has(made) && !byteTokens.has(made);
  });
  try {
    return new HuggingFaceTokenizer(
      {
        added_tokens: json.added_tokens.filter(
          (token) => !controlTokenIds.has(token.id) && !byteTokens.has(token.content),
        ),
        normalizer: json.normalizer ?? null,
        pre_tokenizer: json.pre_tokenizer ?? null,
        post_processor: null, // it would only add bos, which is put in by id
        decoder: null,
        model: {
          ...json.model,
          type: "BPE",
          vocab: Object.fromEntries(plain),
          merges,
          unk_token: null,
          fuse_unk: false,
        },
      },
      {},
    );
  } catch (cause) {
    throw new GriffinError("unsupported", `${file}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

/** Where a text may be cut so that it has the same ids as whole. That takes time in proportion to its different words. */
interface Cuts {
  /** Characters that some token has before a space. Between any other and a space no merge can join two tokens. */
  joined: ReadonlySet<string>;
  /** Added tokens with spaces in them: the library takes what stands alone for them, at an end or beside another one. */
  alone: readonly string[];
}

/** null where the file has steps that do not allow to know. */
function cutsOf(json: TokenizerJson, vocab: ReadonlyMap<string, number>): Cuts | null {
  const { normalizer, pre_tokenizer: splitter, model, added_tokens: added } = json;
  const replaced = normalizer?.type === "Replace" ? replaceStep.safeParse(normalizer).data : undefined;
  const isPlain = replaced?.pattern.String === " " && replaced.content === spaceMark && model["ignore_merges"] !== true;
  // After that normalizer there is no space for the splitter to find.
  const splits = splitter && !(splitter.type === "Split" && splitStep.safeParse(splitter).data?.pattern.String === " ");
  const reaches = added.some((token) => ["lstrip", "rstrip", "single_word"].some((flag) => token[flag] === true));
  if (!isPlain || splits || reaches) return null;
  const alone = added
    .map(({ content }) => content.replaceAll(" ", spaceMark))
    .filter((each) => each.includes(spaceMark));
  const tokens = [...vocab.keys(), ...alone];
  const joined = tokens.flatMap((content) => [...content].filter((_, i, all) => all[i + 1] === spaceMark));
  return { joined: new Set(joined), alone };
}

/** A text cut before its spaces, wherever that changes nothing. */
function wordsOf(text: string, cuts: Cuts | null): string[] {
  if (cuts === null) return [text];
  const { joined, alone } = cuts;
  const marked = alone.length > 0 ? text.replaceAll(" ", spaceMark) : "";
  const words: string[] = [];
  let start = 0;
  for (let at = text.indexOf(" ", 1); at >= 0; at = text.indexOf(" ", at + 1)) {
    const isPair = at > 1 && /[\udc00-\udfff]/.test(text.charAt(at - 1));
    const before = text.slice(at - (isPair ? 2 : 1), at);
    if (joined.has(before === " " ? spaceMark : before)) continue;
    if (alone.some((each) => marked.startsWith(each, at) || marked.endsWith(each, at))) continue;
    words.push(text.slice(start, at));
    start = at;
  }
  return [...words, text.slice(start)];
}

/** What every id decodes to, by the steps of the file's decoder: replacements and byte fallback, joined without spaces. */
function decodedBytes(
  json: TokenizerJson,
  ids: ReadonlyMap<string, number>,
  controlTokenIds: ReadonlySet<number>,
): (Uint8Array | undefined)[] {
  const replacements = replacementsOf(json.decoder);
  const utf8 = new TextEncoder();
  const bytes: (Uint8Array | undefined)[] = [];
  for (const [content, tokenId] of ids) {
    const byte = byteTokens.get(content);
    const text = replacements.reduce((spelt, [from, to]) => spelt.replaceAll(from, () => to), content);
    bytes[tokenId] = controlTokenIds.has(tokenId)
      ? undefined
      : byte === undefined
        ? utf8.encode(text)
        : Uint8Array.of(byte);
  }
  return bytes;
}

/** What stands for a space in tokens. */
const spaceMark = "▁";
const splitStep = z.object({ pattern: z.object({ String: z.string() }) });
const replaceStep = z.object({ pattern: z.object({ String: z.string().min(1) }), content: z.string() });

function replacementsOf(decoder: TokenizerJson["decoder"]): [from: string, to: string][] {
  const steps = decoder?.type === "Sequence" ? z.array(step).safeParse(decoder.decoders).data : decoder && [decoder];
  const supported = "a Sequence of Replace (of a string), ByteFallback and Fuse";
  if (!steps?.some(({ type }) => type === "ByteFallback"))
    throw unsupported("its decoder has no ByteFallback", supported);
  return steps.flatMap((one): [string, string][] => {
    if (one.type === "ByteFallback" || one.type === "Fuse") return [];
    const replace = one.type === "Replace" ? replaceStep.safeParse(one).data : undefined;
    if (replace === undefined) throw unsupported(`its decoder has a step ${one.type}`, supported);
    return [[replace.pattern.String, replace.content]];
  });
}
