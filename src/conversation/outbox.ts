// The outbox: what is to be told of turns that ended. It has no rows of its own. A turn is in it from the transaction that
// ends it, because it was marked as unsettled when it began, until the mark is taken away: then the objects that deliver
// webhooks have its event, and the tenant knows what it cost. Whether anybody wants to know is asked when it has ended,
// so that an endpoint that was made while it ran is told as well.
import { endEvent } from "../outbox/events.ts";
import type { Notice } from "../outbox/protocol.ts";
import type { Database } from "./database.ts";
import type { TurnOptions, TurnStatus } from "./protocol.ts";
import type { TurnError } from "./turns.ts";

/** A notice, and the turn that it is of. */
export interface TurnNotice {
  turn: number;
  notice: Notice;
}

interface EndedRow extends Record<string, string | number | null> {
  turn: number;
  status: Exclude<TurnStatus, "in_progress">;
  finished_ms: number;
  options: string;
  /** JSON, the reply of a turn that failed. */
  failure: string | null;
}

/** What is still to be told of turns that ended; of one turn where it is named. */
export function readNotices(db: Database, turn: number | null = null): TurnNotice[] {
  const failure = "CASE WHEN status = 'failed' THEN CAST(reply AS TEXT) END AS failure";
  const ended = `SELECT turn, status, finished_ms, options, ${failure} FROM turns
    WHERE unsettled AND status <> 'in_progress'`;
  const rows =
    turn === null ? db.read<EndedRow>(`${ended} ORDER BY turn`) : db.read<EndedRow>(`${ended} AND turn = ?`, turn);
  return rows.flatMap((row) => {
    const notice = noticeOf(row);
    return notice === null ? [] : [{ turn: row.turn, notice }];
  });
}

/** null where nobody was to be told, or what the turn was asked is damaged. */
function noticeOf({ turn, status, finished_ms: endedMs, options, failure }: EndedRow): Notice | null {
  const notify = parsed<TurnOptions>(options)?.notify;
  if (!notify) return null;
  const isRefused = parsed<{ error: TurnError | null }>(failure)?.error?.code === "refused";
  // What moderation refused is shown as a reply that it broke off.
  const type = `response.${isRefused ? "incomplete" : status}` as const;
  return { registry: notify.registry, url: notify.url, event: endEvent(type, `${notify.idHead}${turn}`, endedMs) };
}

function parsed<T>(json: string | null): Partial<T> | null {
  try {
    return JSON.parse(json ?? "null") as Partial<T> | null;
  } catch {
    return null;
  }
}
