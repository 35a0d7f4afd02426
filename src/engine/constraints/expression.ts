// Expressions: what a text may be, byte by byte. A small algebra; whoever knows a notation (regular expressions, JSON
// Schema, calls of tools) writes it in this one, and network.ts turns it into states.
import { utf8Sequences, type CharSet } from "./char-set.ts";

export type Expression =
  /** One byte from `low` to `high`. */
  | { kind: "byte"; low: number; high: number }
  | { kind: "sequence"; parts: readonly Expression[] }
  /** Nothing at all where there are no parts. */
  | { kind: "choice"; parts: readonly Expression[] }
  | { kind: "repeat"; part: Expression; min: number; max: number }
  /** The body of a rule, which may contain the rule itself. */
  | { kind: "rule"; rule: Rule };

export interface Rule {
  body: Expression;
}

/** One after the other; without parts the empty text. */
export const sequence = (...parts: Expression[]): Expression => ({ kind: "sequence", parts });

/** Any one of these. */
export const choice = (...parts: Expression[]): Expression => ({ kind: "choice", parts });

/** Not even the empty text. */
export const nothing: Expression = choice();

/** `min` to `max` times. */
export const repeat = (part: Expression, min = 0, max = Infinity): Expression => ({ kind: "repeat", part, min, max });

/** Once or not at all. */
export const optional = (part: Expression): Expression => repeat(part, 0, 1);

/** Exactly this text. */
export const literal = (text: string): Expression =>
  sequence(...Array.from(new TextEncoder().encode(text), (byte) => byteRange(byte, byte)));

/** One character of a set, in UTF-8. */
export const character = (set: CharSet): Expression =>
  choice(...utf8Sequences(set).map((ranges) => sequence(...ranges.map(([low, high]) => byteRange(low, high)))));

/** A rule whose body is set later, so that it can contain itself. */
export const rule = (body: Expression = nothing): Rule => ({ body });

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

/** The fewest and the most of these parts that a text has. A rule among the parts around them must not hold itself. */
export function countsOf(
  expression: Expression,
  parts: ReadonlySet<Expression>,
): readonly [least: number, most: number] {
  if (parts.has(expression)) return [1, 1];
  const { kind } = expression;
  if (kind === "byte") return [0, 0];
  if (kind === "rule") return countsOf(expression.rule.body, parts);
  if (kind === "repeat") {
    const [least, most] = countsOf(expression.part, parts);
    return [least * expression.min, most === 0 ? 0 : most * expression.max];
  }
  const counts = expression.parts.map((part) => countsOf(part, parts));
  const [least, most] = [counts.map(([count]) => count), counts.map(([, count]) => count)];
  if (kind === "choice") return [Math.min(...least), Math.max(0, ...most)];
  return [sum(least), sum(most)];
}

const byteRange = (low: number, high: number): Expression => ({ kind: "byte", low, high });
