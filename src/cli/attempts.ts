// Attempts to tell an address of something, as both kinds of webhooks print them.
import { date } from "./remote.ts";

export interface Attempt {
  status_code: number | null;
  error: string | null;
}

/** `500, connection_failed`, and when the next one is due. */
export function attemptsText(attempts: readonly Attempt[], nextAt: number | null): string {
  const next = nextAt === null ? [] : [`next ${date(nextAt)}`];
  return [attempts.map(answerText).join(", ") || "not yet", ...next].join("  ");
}

export const answerText = ({ status_code, error }: Attempt): string =>
  status_code === null ? (error ?? "no answer") : String(status_code);
