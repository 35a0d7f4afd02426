// Sets of characters (Unicode scalar values) as sorted ranges, and their UTF-8.

/** Ranges from low to high, in order and apart from each other. */
export type CharSet = readonly (readonly [low: number, high: number])[];

const lastCharacter = 0x10ffff;
const surrogates: CharSet = [[0xd800, 0xdfff]];

/** Ranges in any order as a set. Surrogates are no characters. */
export function charSet(ranges: Iterable<readonly [number, number]>): CharSet {
  return without(joined(ranges), surrogates);
}

/** Every character. */
export const anyCharacter: CharSet = charSet([[0, lastCharacter]]);

/** The characters of `set` that are not in `other`. */
export function without(set: CharSet, other: CharSet): CharSet {
  const left: [number, number][] = [];
  for (const [low, high] of set) {
    let from = low;
    for (const [first, last] of other) {
      if (last < from || first > high) continue;
      if (first > from) left.push([from, first - 1]);
      from = last + 1;
    }
    if (from <= high) left.push([from, high]);
  }
  return left;
}

/** The characters of both. */
export const inBoth = (set: CharSet, other: CharSet): CharSet => without(set, without(anyCharacter, other));

/** The set of these characters. */
export const charsOf = (text: string): CharSet =>
  charSet(Array.from(text, (char): [number, number] => [char.codePointAt(0) ?? 0, char.codePointAt(0) ?? 0]));

function joined(ranges: Iterable<readonly [number, number]>): CharSet {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const set: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = set.at(-1);
    if (last !== undefined && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else set.push([low, high]);
  }
  return set;
}

type ByteRanges = (readonly [low: number, high: number])[];

/** The last character of one, two, three and four bytes. */
const lastOfLength = [0x7f, 0x7ff, 0xffff, lastCharacter] as const;

/** The set as sequences of byte ranges: a text in UTF-8 is a character of the set if it is in one of them. */
export function utf8Sequences(set: CharSet): ByteRanges[] {
  return set.flatMap(([low, high]) => {
    const sequences: ByteRanges[] = [];
    let from = low;
    for (const last of lastOfLength) {
      if (from > last || from > high) continue;
      const to = Math.min(high, last);
      sequences.push(...splitAlike(encode(from), encode(to)));
      from = to + 1;
    }
    return sequences;
  });
}

/** From one encoding to another of the same length, as ranges of which every combination counts. */
function splitAlike(low: readonly number[], high: readonly number[]): ByteRanges[] {
  const [first = 0, ...lowRest] = low;
  const [last = 0, ...highRest] = high;
  if (lowRest.length === 0) return [[[first, last]]];
  const prefixed = (byte: number, rests: ByteRanges[]) => rests.map((rest): ByteRanges => [[byte, byte], ...rest]);
  const least = lowRest.map(() => 0x80);
  const most = highRest.map(() => 0xbf);
  if (first === last) return prefixed(first, splitAlike(lowRest, highRest));
  const sequences: ByteRanges[] = [];
  let from = first;
  let to = last;
  if (lowRest.some((byte) => byte !== 0x80)) sequences.push(...prefixed(from++, splitAlike(lowRest, most)));
  const endsEarly = highRest.some((byte) => byte !== 0xbf);
  if (endsEarly) to--;
  if (from <= to) sequences.push([[from, to], ...least.map((byte) => [byte, 0xbf] as const)]);
  if (endsEarly) sequences.push(...prefixed(last, splitAlike(least, highRest)));
  return sequences;
}

const encode = (codePoint: number): number[] => Array.from(new TextEncoder().encode(String.fromCodePoint(codePoint)));
