// Figures: what was measured, one value a round, and what can be said of such values. The machine is noisy and its clock
// changes, so two figures may be compared only round by round, and only where they were measured in turn (rounds.ts).

/** A measured quantity: one value a round. */
export interface Figure {
  name: string;
  unit: string;
  values: readonly number[];
  /** This figure as a share of others, such as the ceiling of its kernel. */
  shares?: readonly Share[];
}

export interface Share {
  /** What the share is of: "of …" reads well after a number. */
  of: string;
  /** This ÷ that, round by round. */
  values: readonly number[];
}

/** The value in the middle of the sorted ones, `fraction` of the way up. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * fraction;
  const [low = NaN, high = low] = sorted.slice(Math.floor(at), Math.floor(at) + 2);
  return low + (high - low) * (at % 1);
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Whether a smaller number is the better one. */
const isCost = (unit: string) => ["ms", "µs", "bytes", "rows", "tokens"].includes(unit);

export const best = ({ unit, values }: Figure): number => (isCost(unit) ? Math.min(...values) : Math.max(...values));

/** One figure over another, round by round. */
export function ratios(over: readonly number[], under: readonly number[]): number[] {
  if (over.length !== under.length) throw new Error(`${over.length} rounds cannot be compared with ${under.length}.`);
  return over.map((value, round) => value / (under[round] ?? NaN));
}

/** `figure` as a share of `other`. */
export const shareOf = (figure: Figure, other: Figure, of = other.name): Share => ({
  of,
  values: ratios(figure.values, other.values),
});

/** The figure of that name. */
export function named(figures: readonly Figure[], name: string): Figure {
  const figure = figures.find((each) => each.name === name);
  if (figure === undefined) throw new Error(`Nothing named "${name}" was measured.`);
  return figure;
}

/** A number with its digits in groups of three, and no more of them than mean anything. */
export function grouped(value: number): string {
  const digits = Number.isInteger(value) ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return value.toLocaleString("en", digits).replaceAll(",", " ");
}
