/** A measured quantity: one value a run. */
export interface Figure {
  name: string;
  unit: string;
  values: number[];
}

/** A number with its digits in groups of three, and no more of them than mean anything. */
export function grouped(value: number): string {
  const digits = Number.isInteger(value) ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return value.toLocaleString("en", digits).replaceAll(",", " ");
}
