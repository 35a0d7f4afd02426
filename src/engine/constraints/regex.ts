// Regular expressions as ECMAScript writes them (flag u), as far as they are regular: no lookaround, back references or
// word boundaries. Anchors stand only at the ends. https://tc39.es/ecma262/#sec-patterns
import { GriffinError } from "../../errors.ts";
import { anyCharacter, charSet, charsOf, without, type CharSet } from "./char-set.ts";
import { choice, repeat, sequence, type Expression } from "./expression.ts";

/** How a character of a set is written: as itself, or as JSON strings have it. */
export type Spell = (set: CharSet) => Expression;

const mostPatternCharacters = 2_000;
const mostCount = 10_000;
const mostNested = 50;

const digits: CharSet = charSet([[0x30, 0x39]]);
const wordCharacters: CharSet = charSet([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
const spaces: CharSet = charSet([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
const notLineEnds = without(anyCharacter, charsOf("\n\r\u2028\u2029"));
const classes: Readonly<Record<string, CharSet>> = {
  d: digits,
  D: without(anyCharacter, digits),
  w: wordCharacters,
  W: without(anyCharacter, wordCharacters),
  s: spaces,
  S: without(anyCharacter, spaces),
};
const controls: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b };

/** What a pattern matches: a whole text, or a text in which it is found somewhere. Throws `invalid_argument`, `unsupported`. */
export function regex(pattern: string, spell: Spell, match: "whole" | "search"): Expression {
  if (pattern.length > mostPatternCharacters) {
    throw unsupported(`a pattern has at most ${mostPatternCharacters} characters`);
  }
  try {
    void new RegExp(pattern, "u");
  } catch {
    throw new GriffinError("invalid_argument", "A pattern is not a regular expression of ECMAScript with the flag u.");
  }
  return new Parser(pattern, spell, match).parse();
}

/** Reads a pattern that is known to be well-formed. */
class Parser {
  readonly #chars: readonly string[];
  readonly #spell: Spell;
  readonly #match: "whole" | "search";
  #at = 0;
  #depth = 0;

  constructor(pattern: string, spell: Spell, match: "whole" | "search") {
    this.#chars = [...pattern];
    this.#spell = spell;
    this.#match = match;
  }

  parse(): Expression {
    return this.#alternatives();
  }

  #peek(offset = 0): string {
    return this.#chars[this.#at + offset] ?? "";
  }

  /** Takes the next characters if they are these. */
  #take(text: string): boolean {
    if (this.#chars.slice(this.#at, this.#at + text.length).join("") !== text) return false;
    this.#at += text.length;
    return true;
  }

  #alternatives(): Expression {
    const parts = [this.#alternative()];
    while (this.#take("|")) parts.push(this.#alternative());
    return choice(...parts);
  }

  #alternative(): Expression {
    const isOutermost = this.#depth === 0;
    const searches = isOutermost && this.#match === "search";
    const anything = repeat(this.#spell(anyCharacter));
    const parts: Expression[] = [];
    if (!(isOutermost && this.#take("^")) && searches) parts.push(anything);
    let isAnchored = false;
    while (this.#at < this.#chars.length && this.#peek() !== "|" && this.#peek() !== ")") {
      if (isAnchored) throw unsupported("$ stands only at the end of a pattern or of its alternatives");
      if (isOutermost && this.#take("$")) isAnchored = true;
      else parts.push(this.#repeated());
    }
    if (searches && !isAnchored) parts.push(anything);
    return sequence(...parts);
  }

  #repeated(): Expression {
    const atom = this.#atom();
    const [min, max] = this.#quantifier() ?? [1, 1];
    if (min > mostCount || (max > mostCount && max < Infinity)) throw unsupported(`a pattern counts to ${mostCount}`);
    return min === 1 && max === 1 ? atom : repeat(atom, min, max);
  }

  #quantifier(): readonly [number, number] | undefined {
    const read = (): readonly [number, number] | undefined => {
      if (this.#take("*")) return [0, Infinity];
      if (this.#take("+")) return [1, Infinity];
      if (this.#take("?")) return [0, 1];
      if (!this.#take("{")) return undefined;
      const min = this.#number();
      const max = !this.#take(",") ? min : this.#peek() === "}" ? Infinity : this.#number();
      this.#take("}");
      return [min, max];
    };
    const counts = read();
    // Which of several matches is found does not matter here.
    if (counts !== undefined) this.#take("?");
    return counts;
  }

  #number(): number {
    let text = "";
    while (/^\d$/.test(this.#peek())) text += this.#chars[this.#at++];
    return Number(text);
  }

  #atom(): Expression {
    if (this.#take("(")) return this.#group();
    if (this.#take("[")) return this.#spell(this.#class());
    if (this.#take(".")) return this.#spell(notLineEnds);
    if (this.#take("\\")) return this.#spell(this.#escape());
    const char = this.#peek();
    if (char === "^" || char === "$") throw unsupported("anchors stand only at the ends of a pattern");
    this.#at++;
    return this.#spell(charsOf(char));
  }

  #group(): Expression {
    if (this.#take("?")) {
      if (this.#peek() === "<" && !"=!".includes(this.#peek(1))) {
        while (!this.#take(">")) this.#at++;
      } else if (!this.#take(":")) throw unsupported("lookaround and flags inside a pattern");
    }
    if (++this.#depth > mostNested) throw unsupported(`groups are at most ${mostNested} deep`);
    const inner = this.#alternatives();
    this.#depth--;
    this.#take(")");
    return inner;
  }

  #class(): CharSet {
    const isNegated = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const low = this.#member();
      const [only] = low;
      if (this.#peek() === "-" && this.#peek(1) !== "]" && only !== undefined && low.length === 1) {
        this.#at++;
        const [high] = this.#member();
        if (high !== undefined) ranges.push([only[0], high[1]]);
      } else ranges.push(...low);
    }
    const set = charSet(ranges);
    return isNegated ? without(anyCharacter, set) : set;
  }

  #member(): CharSet {
    if (this.#take("\\")) {
      if (this.#take("b")) return [[8, 8]];
      if (this.#take("-")) return charsOf("-");
      return this.#escape();
    }
    const codePoint = this.#peek().codePointAt(0) ?? 0;
    this.#at++;
    return [[codePoint, codePoint]];
  }

  #escape(): CharSet {
    const char = this.#peek();
    this.#at++;
    const set = classes[char];
    if (set !== undefined) return set;
    const control = controls[char];
    if (control !== undefined) return [[control, control]];
    if (char === "0") return [[0, 0]];
    if (char === "x") return this.#hex(2);
    if (char === "u") return this.#unicode();
    if (char === "c") {
      const codePoint = (this.#peek().codePointAt(0) ?? 0) % 32;
      this.#at++;
      return [[codePoint, codePoint]];
    }
    if (/^[bBkpP1-9]$/.test(char)) throw unsupported(`\\${char} in a pattern`);
    return charsOf(char);
  }

  #hex(length: number): CharSet {
    const codePoint = Number.parseInt(this.#chars.slice(this.#at, this.#at + length).join(""), 16);
    this.#at += length;
    return [[codePoint, codePoint]];
  }

  #unicode(): CharSet {
    if (this.#take("{")) {
      const length = this.#chars.indexOf("}", this.#at) - this.#at;
      const set = this.#hex(length);
      this.#at++;
      return set;
    }
    const [[high] = [0]] = this.#hex(4);
    if (high < 0xd800 || high > 0xdbff || !(this.#peek() === "\\" && this.#peek(1) === "u")) {
      return [[high, high]];
    }
    this.#at += 2;
    const [[low] = [0]] = this.#hex(4);
    const codePoint = 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
    return [[codePoint, codePoint]];
  }
}

const unsupported = (what: string) => new GriffinError("unsupported", `Patterns: ${what}: not supported.`);
