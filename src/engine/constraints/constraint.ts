// Constraint: what a reply must be, and before each of its tokens which ones keep it so. What is allowed is a matter of
// the tokens so far and nothing else, so a reply that goes on after a crash is the one that would have come.
import { GriffinError } from "../../errors.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { Automaton, dead } from "./automaton.ts";
import { anyCharacter } from "./char-set.ts";
import { character, choice, literal, repeat, type Expression } from "./expression.ts";
import { jsonSchema } from "./json-schema.ts";
import { anyObject } from "./json-text.ts";
import { compileNetwork, type Network } from "./network.ts";
import { regex } from "./regex.ts";
import { tokenTable, type TokenTable } from "./token-table.ts";
import { toolCall, textBeside } from "./tool-call.ts";

/** The format of a reply: plain data, which is stored with its turn. */
export type Format =
  /** Any text. */
  | { type: "text" }
  /** Any JSON object. */
  | { type: "json_object" }
  /** JSON that validates; the schema as JSON text. */
  | { type: "json_schema"; schema: string }
  /** A text that the pattern matches from beginning to end. */
  | { type: "regex"; pattern: string }
  /** One of these texts. */
  | { type: "choice"; choices: string[] }
  /** A call of a tool; or a reply in another format, where that is not null. */
  | { type: "tool_call"; tools: { name: string; parameters: string }[]; otherwise: Format | null };

/** Together in one request, as JSON text. */
export const mostFormatCharacters = 65_536;
const mostChoices = 1_000;
/** Of text that must come, so many bytes are looked at: hardly a token has more. */
const mostCertainBytes = 32;
/** A mask has a bit for each token. */
const mostMasks = 64;

/** What a reply may be, compiled. Throws `invalid_argument` and `unsupported`. */
export function compileFormat(format: Format): Network {
  return compileNetwork(expressionOf(format));
}

/** Throws `invalid_argument` and `unsupported` where a reply cannot be held to a format. */
export function checkFormat(format: Format): void {
  void new Automaton(compileFormat(format));
}

/** The same of a schema, as JSON text, but for how large it becomes: cheap. */
export function checkSchema(schema: string): void {
  void jsonSchema(JSON.parse(schema));
}

/** The format as an expression. */
function expressionOf(format: Format): Expression {
  if (JSON.stringify(format).length > mostFormatCharacters) {
    throw new GriffinError("unsupported", `A format has at most ${mostFormatCharacters} characters.`);
  }
  if (format.type === "text") return anyText;
  if (format.type === "json_object") return anyObject;
  if (format.type === "json_schema") return jsonSchema(JSON.parse(format.schema));
  if (format.type === "regex") return regex(format.pattern, character, "whole");
  if (format.type === "choice") {
    const { choices } = format;
    if (choices.length === 0 || choices.length > mostChoices || choices.includes("")) {
      throw new GriffinError("invalid_argument", `Expected 1 to ${mostChoices} choices, none of them empty.`);
    }
    return choice(...choices.map((text) => literal(text.toWellFormed())));
  }
  const call = toolCall(format.tools.map((tool) => ({ ...tool, parameters: JSON.parse(tool.parameters) })));
  if (format.otherwise === null) return call;
  // A text that begins like a call is one, so plain text must not.
  return choice(call, format.otherwise.type === "text" ? textBeside : expressionOf(format.otherwise));
}

const anyText = repeat(character(anyCharacter));

/** Holds one reply to its format. */
export class Constraint {
  readonly #automaton: Automaton;
  readonly #table: TokenTable;
  readonly #bytesOf: (token: number) => Uint8Array | undefined;
  readonly #stopTokens: readonly number[];
  readonly #words: number;
  #at: number;
  /** Set of places → the tokens that fit there. */
  #masks = new Map<number, Uint32Array>();

  constructor(network: Network, tokenizer: Tokenizer, stopTokens: readonly number[], vocabSize: number) {
    this.#automaton = new Automaton(network);
    this.#table = tokenTable(tokenizer);
    this.#bytesOf = (token) => tokenizer.bytesOf(token);
    this.#stopTokens = stopTokens;
    this.#words = Math.ceil(vocabSize / 32);
    this.#at = this.#automaton.start;
  }

  /** Rules out the tokens that do not fit here: their logits [V] become −∞. */
  apply(logits: Float32Array): void {
    let mask = this.#masks.get(this.#at);
    if (mask === undefined) {
      if (this.#masks.size >= mostMasks) this.#masks.clear();
      mask = this.#maskAt(this.#at);
      this.#masks.set(this.#at, mask);
    }
    for (let token = 0; token < logits.length; token++) {
      if ((((mask[token >>> 5] ?? 0) >>> (token & 31)) & 1) === 0) logits[token] = -Infinity;
    }
  }

  /** Goes on behind a token of the reply. */
  accept(token: number): void {
    if (this.#stopTokens.includes(token)) return;
    for (const byte of this.#bytesOf(token) ?? []) this.#at = this.#automaton.next(this.#at, byte);
    if (this.#at === dead) throw new GriffinError("internal", "A token of a reply does not fit its format.");
    const kept = this.#automaton.forget(this.#at);
    if (kept === this.#at) return;
    this.#at = kept;
    this.#masks.clear();
  }

  /** Whether the reply is whole, so that nothing can follow it. */
  get isOver(): boolean {
    return !this.#automaton.mayGoOn(this.#at);
  }

  /** How many bytes there is no choice of. */
  #certainBytes(set: number): number {
    let at = set;
    for (let count = 0; count < mostCertainBytes; count++) {
      const byte = this.#automaton.onlyByte(at);
      if (byte === null) return count;
      at = this.#automaton.next(at, byte);
    }
    return mostCertainBytes;
  }

  /** Where only one text can follow, it comes in its longest tokens: the fewest, and those that models are used to. */
  #maskAt(set: number): Uint32Array {
    const mask = new Uint32Array(this.#words);
    const allow = (token: number) => {
      mask[token >>> 5] = (mask[token >>> 5] ?? 0) | (1 << (token & 31));
    };
    if (this.#automaton.mayEnd(set)) for (const token of this.#stopTokens) allow(token);
    const { tokens, bytes, offsets, shared } = this.#table;
    const certain = this.#certainBytes(set);
    let longest = 0;
    // Sets after each byte of the token looked at: those of the bytes it shares with the one before are known.
    const path = [set];
    for (let index = 0; index < tokens.length;) {
      const [begin, end] = [offsets[index] ?? 0, offsets[index + 1] ?? 0];
      let depth = Math.min(shared[index] ?? 0, path.length - 1);
      path.length = depth + 1;
      let at = path[depth] ?? dead;
      while (at !== dead && begin + depth < end) {
        at = this.#automaton.next(at, bytes[begin + depth] ?? 0);
        if (at !== dead) path[++depth] = at;
      }
      const token = tokens[index] ?? 0;
      const length = end - begin;
      if (
        at !== dead &&
        !this.#stopTokens.includes(token) &&
        (certain === 0 || (length > longest && length <= certain))
      ) {
        if (certain > 0) mask.fill(0);
        longest = length;
        allow(token);
      }
      index++;
      // What begins with the byte that did not fit does not fit either.
      if (at === dead) while (index < tokens.length && (shared[index] ?? 0) > depth) index++;
    }
    return mask;
  }
}
