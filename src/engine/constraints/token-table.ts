// The vocabulary in the order of its tokens' bytes, so that what a format allows is found in one walk: tokens that begin
// alike lie together, and one byte that does not fit rules all of them out.
import type { Tokenizer } from "../../model/tokenizer.ts";

export interface TokenTable {
  /** Every token with text, in the order of its bytes. */
  tokens: Int32Array;
  /** Bytes of all of them, one after the other. */
  bytes: Uint8Array;
  /** Where each begins in `bytes`; one more at the end. */
  offsets: Int32Array;
  /** How many bytes each has in common with the one before it. */
  shared: Uint8Array;
}

const tables = new WeakMap<Tokenizer, TokenTable>();

/** The table of a tokenizer, made once. Control tokens, and tokens without text, are not in it. */
export function tokenTable(tokenizer: Tokenizer): TokenTable {
  const known = tables.get(tokenizer);
  if (known !== undefined) return known;
  const table = makeTable(tokenizer);
  tables.set(tokenizer, table);
  return table;
}

/** Of a longer token the rest is not compared: that it shares less than it does costs time, nothing else. */
const mostShared = 255;

function makeTable(tokenizer: Tokenizer): TokenTable {
  const none = new Uint8Array();
  const bytesOf = (token: number | undefined) => (token === undefined ? none : (tokenizer.bytesOf(token) ?? none));
  const all = Int32Array.from({ length: tokenizer.size }, (_, token) => token);
  const tokens = all.filter((token) => bytesOf(token).length > 0);
  tokens.sort((a, b) => compare(bytesOf(a), bytesOf(b)));
  const offsets = new Int32Array(tokens.length + 1);
  for (const [index, token] of tokens.entries()) offsets[index + 1] = (offsets[index] ?? 0) + bytesOf(token).length;
  const bytes = new Uint8Array(offsets.at(-1) ?? 0);
  const shared = new Uint8Array(tokens.length);
  for (const [index, token] of tokens.entries()) {
    bytes.set(bytesOf(token), offsets[index]);
    shared[index] = sharedBytes(bytesOf(token), bytesOf(tokens[index - 1]));
  }
  return { tokens, bytes, offsets, shared };
}

function sharedBytes(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length, mostShared);
  let count = 0;
  while (count < most && a[count] === b[count]) count++;
  return count;
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
