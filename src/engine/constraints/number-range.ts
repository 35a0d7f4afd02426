// Numbers between two bounds, as decimal digits. JSON Schema's `minimum` and its like, for a grammar: a range of
// integers is a few patterns of digits; a number with decimals is an integer with a point put in.
import { GriffinError } from "../../errors.ts";
import { character, choice, literal, nothing, repeat, sequence, type Expression } from "./expression.ts";
import { mostDigits } from "./json-text.ts";

export interface Bounds {
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

/** Decimals that a bounded number may have, and those its bounds may have. */
const leastDecimals = 2;
const mostDecimals = 6;
const largest = 10n ** BigInt(mostDigits) - 1n;

/** Integers within the bounds. */
export const integerWithin = (bounds: Bounds): Expression => scaledWithin(bounds, 0);

/** Integers within the bounds, and numbers with as many decimals as the bounds have, at least two. */
export function numberWithin(bounds: Bounds): Expression {
  const decimals = Math.max(leastDecimals, ...Object.values(bounds).map(decimalsOf));
  return choice(integerWithin(bounds), scaledWithin(bounds, decimals));
}

function scaledWithin(bounds: Bounds, decimals: number): Expression {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = bounds;
  const lows = [-largest];
  const highs = [largest];
  if (minimum !== undefined) lows.push(scale(minimum, decimals, "up"));
  if (maximum !== undefined) highs.push(scale(maximum, decimals, "down"));
  if (exclusiveMinimum !== undefined) lows.push(scale(exclusiveMinimum, decimals, "down") + 1n);
  if (exclusiveMaximum !== undefined) highs.push(scale(exclusiveMaximum, decimals, "up") - 1n);
  const low = lows.reduce((a, b) => (a > b ? a : b));
  const high = highs.reduce((a, b) => (a < b ? a : b));
  const parts: Expression[] = [];
  const smallest = low < 0n ? 0n : low;
  if (high >= smallest) parts.push(digitsBetween(smallest, high, decimals));
  // Below zero the magnitudes run the other way; −0 is left out.
  const nearest = high < 0n ? -high : 1n;
  if (low < 0n && -low >= nearest) parts.push(sequence(literal("-"), digitsBetween(nearest, -low, decimals)));
  return parts.length === 0 ? nothing : choice(...parts);
}

/** Magnitudes from `low` to `high`, without leading zeros, with a point before the last `decimals` digits. */
function digitsBetween(low: bigint, high: bigint, decimals: number): Expression {
  const parts: Expression[] = [];
  const shortest = decimals + 1;
  const longest = high.toString().length;
  for (let length = shortest; length <= Math.max(longest, shortest); length++) {
    const first = length === shortest ? 0n : 10n ** BigInt(length - 1);
    const last = 10n ** BigInt(length) - 1n;
    const from = low > first ? low : first;
    const to = high < last ? high : last;
    if (from > to) continue;
    const padded = (value: bigint) => value.toString().padStart(length, "0");
    parts.push(sameLength(padded(from), padded(to), decimals));
  }
  return choice(...parts);
}

/** Digit strings from one to another of the same length. */
function sameLength(from: string, to: string, decimals: number): Expression {
  const { length } = from;
  if (length === 0) return sequence();
  const point = length === decimals ? [literal(".")] : [];
  const [first = 0, last = 0] = [Number(from[0]), Number(to[0])];
  const [fromRest, toRest] = [from.slice(1), to.slice(1)];
  const [zeros, nines] = ["0".repeat(length - 1), "9".repeat(length - 1)];
  const isWhole = fromRest === zeros && toRest === nines;
  const of = (low: number, high: number, rest: Expression) => sequence(...point, digit(low, high), rest);
  if (first === last || isWhole) {
    return of(first, last, isWhole ? anyDigits(length - 1, decimals) : sameLength(fromRest, toRest, decimals));
  }
  const parts = [
    of(first, first, sameLength(fromRest, nines, decimals)),
    of(last, last, sameLength(zeros, toRest, decimals)),
  ];
  if (first + 1 < last) parts.push(of(first + 1, last - 1, anyDigits(length - 1, decimals)));
  return choice(...parts);
}

function anyDigits(count: number, decimals: number): Expression {
  if (count < decimals || decimals === 0) return repeat(digit(0, 9), count, count);
  const whole = count - decimals;
  return sequence(repeat(digit(0, 9), whole, whole), literal("."), repeat(digit(0, 9), decimals, decimals));
}

const digit = (low: number, high: number): Expression => character([[0x30 + low, 0x30 + high]]);

/** `value` · 10^decimals, rounded to an integer, within what is written here. */
function scale(value: number, decimals: number, direction: "up" | "down"): bigint {
  const { mantissa, exponent } = decimalOf(value);
  const power = exponent + decimals;
  if (power > 40) return mantissa > 0n ? largest + 1n : -largest - 1n;
  if (power >= 0) return mantissa * 10n ** BigInt(power);
  const divisor = 10n ** BigInt(Math.min(-power, 400));
  const quotient = mantissa / divisor;
  if (quotient * divisor === mantissa) return quotient;
  if (direction === "up") return mantissa > 0n ? quotient + 1n : quotient;
  return mantissa < 0n ? quotient - 1n : quotient;
}

/** The shortest decimal that is this number. */
function decimalOf(value: number): { mantissa: bigint; exponent: number } {
  const [digits = "0", power = "0"] = value.toExponential().split("e");
  const [whole = "0", fraction = ""] = digits.split(".");
  return { mantissa: BigInt(whole + fraction), exponent: Number(power) - fraction.length };
}

function decimalsOf(value: number | undefined): number {
  const decimals = value === undefined ? 0 : Math.max(0, -decimalOf(value).exponent);
  if (decimals > mostDecimals) {
    throw new GriffinError("unsupported", `Bounds of numbers have at most ${mostDecimals} decimals.`);
  }
  return decimals;
}
