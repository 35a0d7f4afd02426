// The outbox: what is to be told of turns that ended. It has no rows of its own. A turn is in it from the transaction that
// ends it, because it was marked as unsettled when it began, until the mark is taken away: then the objects that deliver
// webhooks have its event, and the tenant knows what it cost. Whether anybody wants to know is asked when it has ended,
// so that an endpoint that was made while it ran is told as well.
import { isTaken } from "../errors.ts";
import { endEvent } from "../outbox/events.ts";
import type { Notice } from "../outbox/protocol.ts";
import type { Charge, Cost } from "../tenant/protocol.ts";
import type { Database } from "./database.ts";
import { orDamaged } from "./parts.ts";
import type { TurnOptions, TurnStatus } from "./protocol.ts";
import { readReply } from "./turns.ts";

/** What is to be told of a turn that ended. */
export interface TurnEnd {
  turn: number;
  /** null: nobody waits for an event of it. */
  notice: Notice | null;
  /** null: it is charged to nobody. */
  chargedTo: Charge | null;
  /** null: nothing came of it. */
  cost: Cost | null;
}

interface EndedRow extends Record<string, string | number | null> {
  turn: number;
  status: Exclude<TurnStatus, "in_progress">;
  finished_ms: number;
  options: string;
}

/** What is still to be told of turns that ended; of one turn where it is named. */
export function readEnds(db: Database, turn: number | null = null): TurnEnd[] {
  const ended = "SELECT turn, status, finished_ms, options FROM turns WHERE unsettled AND status <> 'in_progress'";
  const rows =
    turn === null ? db.read<EndedRow>(`${ended} ORDER BY turn`) : db.read<EndedRow>(`${ended} AND turn = ?`, turn);
  return rows.map((row) => endOf(db, row));
}

/** Of what is damaged nobody can tell: no event is made of it, and the place that it takes lapses. */
function endOf(db: Database, { turn, status, finished_ms: endedMs, options }: EndedRow): TurnEnd {
  const asked = parsedOptions(options);
  const reply = orDamaged(() => readReply(db, turn));
  const code = reply?.error?.code;
  // What moderation refused is shown as a reply that it broke off.
  const type = `response.${code === "refused" ? "incomplete" : status}` as const;
  const { notify = null, chargedTo = null } = asked;
  const isToBeTold = notify !== null && !(notify.isBegunAgain && code !== undefined && isTaken(code));
  const notice = isToBeTold
    ? { registry: notify.registry, url: notify.url, event: endEvent(type, `${notify.idHead}${turn}`, endedMs) }
    : null;
  return { turn, notice, chargedTo, cost: reply?.usage ?? null };
}

function parsedOptions(json: string): Partial<TurnOptions> {
  try {
    return JSON.parse(json) as Partial<TurnOptions>;
  } catch {
    return {};
  }
}
