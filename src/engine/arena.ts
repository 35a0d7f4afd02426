// The arena: lifetimes in, addresses out. Two values share bytes only if no step needs both.

/** Tensors start on this boundary everywhere in memory. */
export const alignmentBytes = 16;

/** `bytes` rounded up to the alignment. */
export const aligned = (bytes: number) => Math.ceil(bytes / alignmentBytes) * alignmentBytes;

/** A value that lives from step `from` to step `to`, both included. */
export interface Lifetime {
  name: string;
  bytes: number;
  from: number;
  to: number;
}

/** An offset for every lifetime, and the bytes they need together: largest first, each at the lowest gap that is free. */
export function placeLifetimes(lifetimes: readonly Lifetime[]): { offsets: Map<string, number>; totalBytes: number } {
  const placed: (Lifetime & { offset: number })[] = [];
  for (const lifetime of lifetimes.toSorted((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    const inTheWay = placed
      .filter((other) => other.from <= lifetime.to && lifetime.from <= other.to)
      .sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const other of inTheWay) {
      if (offset + lifetime.bytes <= other.offset) break;
      offset = Math.max(offset, aligned(other.offset + other.bytes));
    }
    placed.push({ ...lifetime, offset });
  }
  return {
    offsets: new Map(placed.map(({ name, offset }) => [name, offset])),
    totalBytes: placed.reduce((most, { offset, bytes }) => Math.max(most, aligned(offset + bytes)), 0),
  };
}
