// JSON as it is written here: as JSON.stringify does it, so that what a client reads and writes again is the same text.
// No white space, or a reply could be nothing else; numbers of bounded length; characters as themselves wherever JSON
// allows it. RFC 8259
import { anyCharacter, charSet, charsOf, inBoth, without, type CharSet } from "./char-set.ts";
import { character, choice, literal, optional, repeat, rule, sequence, type Expression } from "./expression.ts";

const controls: CharSet = [[0, 0x1f]];
/** What stands behind the backslash. */
const shortEscapes: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "\b": "b",
  "\f": "f",
  "\n": "n",
  "\r": "r",
  "\t": "t",
};
const escaped = charSet([...controls, ...charsOf('"\\')]);

/** A character of the set inside a JSON string. */
export function stringCharacter(set: CharSet): Expression {
  const chars = inBoth(set, escaped).flatMap(([low, high]) =>
    Array.from({ length: high - low + 1 }, (_, index) => String.fromCodePoint(low + index)),
  );
  const short = chars.flatMap((char) => shortEscapes[char] ?? []);
  const long = chars.filter((char) => shortEscapes[char] === undefined).map((char) => literal(hexOf(char)));
  const escapes = choice(...short.map(literal), sequence(literal("u00"), choice(...long)));
  return choice(character(without(set, escaped)), sequence(literal("\\"), escapes));
}

const hexOf = (char: string) => (char.codePointAt(0) ?? 0).toString(16).padStart(2, "0");

/** A rule of its own: what occurs in several places is there once. */
export function shared(body: Expression): Expression {
  return { kind: "rule", rule: rule(body) };
}

const quote = literal('"');
const anyStringCharacter = shared(stringCharacter(anyCharacter));

/** A string with this between its quotes. */
export const quoted = (content: Expression): Expression => sequence(quote, content, quote);

/** A string of `min` to `max` characters. */
export const stringOf = (min: number, max: number): Expression => quoted(repeat(anyStringCharacter, min, max));

/** Digits of a number: more than these a double does not keep apart. */
export const mostDigits = 15;

const digit = character([[0x30, 0x39]]);
const wholeDigits = choice(literal("0"), sequence(character([[0x31, 0x39]]), repeat(digit, 0, mostDigits - 1)));
/** An integer. */
export const anyInteger = sequence(optional(literal("-")), wholeDigits);
/** A number, without an exponent. */
export const anyNumber = sequence(
  anyInteger,
  optional(sequence(literal("."), repeat(digit, 0, mostDigits - 1), character([[0x31, 0x39]]))),
);
/** true or false. */
export const anyBoolean = choice(literal("true"), literal("false"));

const comma = literal(",");
const colon = literal(":");

/** An array of `first`, and then of `min` to `max` times `item`. */
export function arrayOf(first: readonly Expression[], item: Expression, min: number, max: number): Expression {
  const open = literal("[");
  const close = literal("]");
  const head = first.map((part, index) => (index === 0 ? part : sequence(comma, part)));
  if (first.length > 0) return sequence(open, ...head, repeat(sequence(comma, item), min, max), close);
  return sequence(open, listOf(item, min, max), close);
}

/** `min` to `max` of them, with commas between. */
function listOf(part: Expression, min: number, max: number): Expression {
  const item = shared(part);
  const some = sequence(item, repeat(sequence(comma, item), Math.max(min - 1, 0), max - 1));
  return choice(...(min === 0 ? [sequence()] : []), ...(max > 0 ? [some] : []));
}

export interface Member {
  key: Expression;
  value: Expression;
  isRequired: boolean;
}

/** An object with these members in this order; those that are not required may be left out. */
export function objectOf(members: readonly Member[]): Expression {
  // From the last member to the first: what may follow once there is a member, and what while there is none.
  let after: Expression = sequence();
  let before: Expression = sequence();
  for (const { key, value, isRequired } of members.toReversed()) {
    const rest = shared(after);
    const member = shared(sequence(key, colon, value, rest));
    const behind = sequence(comma, member);
    before = isRequired ? member : choice(member, before);
    after = isRequired ? behind : choice(behind, rest);
  }
  return sequence(literal("{"), before, literal("}"));
}

/** An object of `min` to `max` members with any keys. */
export function mapOf(key: Expression, value: Expression, min: number, max: number): Expression {
  return sequence(literal("{"), listOf(sequence(key, colon, value), min, max), literal("}"));
}

const anyRule = rule();
/** Any JSON value. */
export const anyValue: Expression = { kind: "rule", rule: anyRule };
/** Any JSON object. */
export const anyObject = mapOf(stringOf(0, Infinity), anyValue, 0, Infinity);
const anyArray = arrayOf([], anyValue, 0, Infinity);
anyRule.body = choice(literal("null"), anyBoolean, anyNumber, stringOf(0, Infinity), anyArray, anyObject);

/** Exactly this value, written without spaces. */
export const exactly = (value: unknown): Expression => literal(JSON.stringify(value));
