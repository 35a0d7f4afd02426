// The operators and filters of templates, each with what it costs. What liquidjs has besides is not in the language: it is
// not needed to make a text of a payload, or its cost is not told before it is done.
import { defaultOperators, filters as usualFilters, toValue, type Context, type Operators } from "liquidjs";
import { elementSize, elementWork, isObject, Work } from "./template-work.ts";

/** Letters become three at most, as ΐ does in capitals. */
const mostLetters = 3;
/** Letters are changed by the tables of Unicode. */
const letterWork = 20;
/** `blank` is a pattern. */
const comparisonWork = 5;
/** Code points are counted one by one, and in `slice` twice. */
const codePointWork = 20;
/** A part of a text, with all that a string is besides its characters. */
const partSize = 24;

type Operator = (l: unknown, r: unknown, context: Context) => boolean;
/** In liquidjs it may be a generator as well; what calls it knows that. */
const usual = (operator: string) => defaultOperators[operator] as Operator;

/** Arrays and objects are equal to themselves alone, and arrays to `empty`: their elements are not looked at. */
const equality =
  (operator: "==" | "!="): Operator =>
  (l, r, context) => {
    chargeTexts(l, r, context);
    const isSameAlone = isObject(l) || isObject(r) || (Array.isArray(l) && Array.isArray(r));
    return isSameAlone ? (l === r) === (operator === "==") : usual(operator)(l, r, context);
  };

/** Arrays and objects have no order: they would be spelled for it. */
const order =
  (operator: "<" | ">" | "<=" | ">="): Operator =>
  (l, r, context) => {
    chargeTexts(l, r, context);
    return isPlain(l) && isPlain(r) && usual(operator)(l, r, context);
  };

const contains: Operator = (l, r, context) => {
  const work = workOf(context);
  const whole: unknown = toValue(l);
  const part: unknown = toValue(r);
  if (Array.isArray(whole)) {
    work.use(whole.length * (elementWork + (typeof part === "string" ? part.length : 0)));
    return whole.includes(part);
  }
  if (typeof whole !== "string" || part === null || part === undefined) return false;
  const needle = work.text(part);
  work.search(whole, needle);
  return whole.includes(needle);
};

/** `and`, `or` and `not` look at nothing but whether a value is there. */
export const operators: Operators = {
  ...defaultOperators,
  "==": equality("=="),
  "!=": equality("!="),
  "<": order("<"),
  ">": order(">"),
  "<=": order("<="),
  ">=": order(">="),
  contains,
};

type Run = (work: Work, value: unknown, ...args: unknown[]) => unknown;

interface Filter {
  /** How many arguments it has at least, and at most. */
  args: readonly [number, number];
  run: Run;
}

/** All filters that there are. */
export const filters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ["append", { args: [1, 1], run: (work, value, added) => work.joined([work.text(value), work.text(added)], "") }],
  ["prepend", { args: [1, 1], run: (work, value, added) => work.joined([work.text(added), work.text(value)], "") }],
  ["capitalize", { args: [0, 0], run: letters((text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase()) }],
  ["downcase", { args: [0, 0], run: letters((text) => text.toLowerCase()) }],
  ["upcase", { args: [0, 0], run: letters((text) => text.toUpperCase()) }],
  ["strip", { args: [0, 0], run: letters((text) => text.trim()) }],
  ["replace", { args: [2, 2], run: (work, value, from, to) => work.joined(parts(work, value, from), work.text(to)) }],
  ["remove", { args: [1, 1], run: (work, value, what) => work.joined(parts(work, value, what), "") }],
  ["remove_first", { args: [1, 1], run: removeFirst }],
  ["split", { args: [1, 1], run: split }],
  ["slice", { args: [1, 2], run: slice }],
  ["truncate", { args: [0, 2], run: truncate }],
  ["join", { args: [0, 1], run: join }],
  ["map", { args: [1, 1], run: map }],
  ["first", { args: [0, 0], run: (_, value) => listed(value)?.at(0) }],
  ["last", { args: [0, 0], run: (_, value) => listed(value)?.at(-1) }],
  ["size", { args: [0, 0], run: (_, value) => listed(value)?.length ?? 0 }],
  ["default", { args: [1, 1], run: (work, value, other) => usualFilter(work, "default", value, other) }],
  ["json", { args: [0, 0], run: (work, value) => work.json(value) }],
]);

function letters(change: (text: string) => string): Run {
  return (work, value) => {
    const text = work.text(value);
    work.use(text.length * letterWork);
    work.make(text.length * mostLetters);
    return change(text);
  };
}

function parts(work: Work, value: unknown, by: unknown): string[] {
  const text = work.text(value);
  const separator = work.text(by);
  work.search(text, separator);
  if (separator === "") {
    work.make(text.length * partSize);
    return text.split("");
  }
  const found: string[] = [];
  let from = 0;
  for (let at = text.indexOf(separator); at !== -1; at = text.indexOf(separator, from)) {
    work.make(partSize);
    found.push(text.slice(from, at));
    from = at + separator.length;
  }
  return [...found, text.slice(from)];
}

/** Without what is empty at the end, as Ruby has it. */
function split(work: Work, value: unknown, by: unknown): string[] {
  const found = parts(work, value, by);
  return found.slice(0, found.findLastIndex((part) => part !== "") + 1);
}

function removeFirst(work: Work, value: unknown, what: unknown): string {
  const text = work.text(value);
  const needle = work.text(what);
  work.search(text, needle);
  work.make(text.length);
  const at = text.indexOf(needle);
  return at === -1 ? text : text.slice(0, at) + text.slice(at + needle.length);
}

function slice(work: Work, value: unknown, begin: unknown, length: unknown = 1): unknown {
  const whole = Array.isArray(value) ? (value as unknown[]) : work.text(value);
  const most = Math.max(0, wholeNumber(length));
  work.use(whole.length * codePointWork);
  work.make(Math.min(whole.length, most) * elementSize);
  return usualFilter(work, "slice", whole, wholeNumber(begin), most);
}

function truncate(work: Work, value: unknown, length: unknown = 50, end: unknown = "..."): unknown {
  const text = work.text(value);
  const mark = work.text(end);
  work.use((text.length + mark.length) * codePointWork);
  work.make(text.length + mark.length);
  return usualFilter(work, "truncate", text, wholeNumber(length), mark);
}

function join(work: Work, value: unknown, by: unknown = " "): string {
  const all = list(value);
  work.use(all.length * elementWork);
  work.make(all.length * elementSize);
  const separator = work.text(by);
  const texts = all.map((element) => work.text(element));
  return work.joined(texts, separator);
}

/** The property of each, or of its properties: `user.name`. */
function map(work: Work, value: unknown, path: unknown): unknown[] {
  const all = list(value);
  const keys = parts(work, path, ".");
  work.use(all.length * elementWork);
  work.make(all.length * elementSize);
  return all.map((element) => keys.reduce<unknown>((from, key) => work.readProperty(from as object, key), element));
}

/** What has a first and a last: characters or elements. */
const listed = (value: unknown): { length: number; at(index: number): unknown } | null =>
  typeof value === "string" || Array.isArray(value) ? value : null;

function list(value: unknown): unknown[] {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? (value as unknown[]) : [value];
}

/** Of a number, or of a few digits in a text; 0 of all else. */
function wholeNumber(value: unknown): number {
  const isShort = typeof value === "string" && value.length <= 20;
  return typeof value === "number" || isShort ? Math.trunc(Number(value)) || 0 : 0;
}

function usualFilter(context: Work, name: "default" | "slice" | "truncate", value: unknown, ...args: unknown[]) {
  const filter = usualFilters[name] as (this: { context: Context }, value: unknown, ...args: unknown[]) => unknown;
  return filter.call({ context }, value, ...args);
}

function chargeTexts(l: unknown, r: unknown, context: Context): void {
  for (const side of [l, r]) workOf(context).use(typeof side === "string" ? side.length * comparisonWork : 0);
}

/** Texts, numbers, and what is not there. */
function isPlain(side: unknown): boolean {
  const value: unknown = toValue(side);
  return typeof value !== "object" || value === null;
}

export function workOf(context: Context): Work {
  if (context instanceof Work) return context;
  throw new TypeError("A template runs in a Work.");
}
