// When a webhook that was not taken is tried again: the schedule of Standard Webhooks, somewhat spread, so that what
// failed together does not come back together; later where the receiver asks for it.
const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;

/** How long each attempt waits after the one before. */
export const delaysMs: readonly number[] = [
  0,
  5 * second,
  5 * minute,
  30 * minute,
  2 * hour,
  5 * hour,
  10 * hour,
  14 * hour,
  20 * hour,
  24 * hour,
];
/** A wait is this much shorter or longer, at most. */
export const jitter = 0.1;
/** Nobody may ask for a longer wait. */
export const mostWaitMs = 24 * hour;

/**
 * When the next attempt is due after so many failed ones; null where there is none left. `random` is from 0 to 1;
 * `waitMs` is what the receiver asked for.
 */
export function nextAttemptMs(failed: number, nowMs: number, random: number, waitMs: number | null): number | null {
  const delayMs = delaysMs[failed];
  if (delayMs === undefined) return null;
  const spreadMs = Math.round(delayMs * (1 + jitter * (2 * random - 1)));
  return nowMs + Math.max(spreadMs, Math.min(waitMs ?? 0, mostWaitMs));
}

/** How long a `retry-after` header asks to wait, in seconds or until a date; null where it says nothing. RFC 9110, 10.2.3 */
export function waitOf(header: string | null, nowMs: number): number | null {
  const text = header?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * second;
  // A date of HTTP begins with a day's name: Date.parse takes far more.
  const atMs = /^[A-Z][a-z]{2,8}, /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(atMs) ? null : Math.max(0, atMs - nowMs);
}
