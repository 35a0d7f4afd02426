// The quiet line under a reply: what it cost to remember and to compute.
import type { Report } from "./api.ts";

/** Fewer come in one piece, and a speed over them says nothing. */
const fewestTokens = 16;

/** Measured in this page; unknown for a reply it did not watch from the beginning. */
export interface Measured {
  firstTokenMs?: number;
  tokensPerSecond?: number;
}

/** When the page saw what, in ms of one clock. */
export interface Watch {
  askedMs: number;
  firstTokenMs: number | null;
  lastTokenMs: number | null;
}

/** What can be told of a reply's speed. */
export function measure({ askedMs, firstTokenMs, lastTokenMs }: Watch, { usage }: Report): Measured {
  if (firstTokenMs === null || lastTokenMs === null) return {};
  const betweenMs = lastTokenMs - firstTokenMs;
  const tokens = (usage?.output_tokens ?? 0) - 1;
  const isEnough = tokens >= fewestTokens && betweenMs > 0;
  return {
    firstTokenMs: firstTokenMs - askedMs,
    ...(isEnough && { tokensPerSecond: (tokens * 1000) / betweenMs }),
  };
}

/** The line's parts, most telling first. */
export function describe({ state, griffin }: Report, { firstTokenMs, tokensPerSecond }: Measured): string[] {
  if (!griffin || !state) return [];
  return [
    `${bytes(griffin.state_bytes)} state, ${state}`,
    `${count(griffin.restored_tokens)} tokens restored, ${count(griffin.computed_tokens)} computed`,
    ...(firstTokenMs === undefined ? [] : [`first token ${duration(firstTokenMs)}`]),
    ...(tokensPerSecond === undefined ? [] : [`${count(Math.round(tokensPerSecond))} tokens/s`]),
  ];
}

const count = (value: number): string => value.toLocaleString("en");

const duration = (ms: number): string => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

function bytes(value: number): string {
  if (value < 1e3) return `${value} B`;
  return value < 1e6 ? `${Math.round(value / 1e3)} KB` : `${(value / 1e6).toFixed(1)} MB`;
}
