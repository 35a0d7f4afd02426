// What is to be told of turns that ended: a row from the transaction that ends a turn until the objects that deliver
// webhooks have it.
import { endEvent, type EventType } from "../outbox/events.ts";
import type { Notice } from "../outbox/protocol.ts";
import type { Database } from "./database.ts";
import type { Notify, TurnOptions, TurnStatus } from "./protocol.ts";

/** How a turn ended. */
export interface End {
  status: Exclude<TurnStatus, "in_progress">;
  nowMs: number;
}

/** A notice, and the turn that it is of. */
export interface TurnNotice {
  turn: number;
  notice: Notice;
}

/** Puts the end of a turn into the outbox, where somebody is to be told of it. `wanted` undefined: nobody knows who. */
export function addNotice(
  db: Database,
  turn: number,
  { status, nowMs }: End,
  wanted: readonly string[] | undefined,
): void {
  const notify = notifyOf(db, turn);
  const type: EventType = `response.${status}`;
  if (notify === null || (notify.url === null && wanted?.includes(type) === false)) return;
  const { registry, url } = notify;
  const notice: Notice = { registry, url, event: endEvent(type, `${notify.idHead}${turn}`, nowMs) };
  db.write(`notice ${turn}`, "INSERT INTO outbox (turn, notice) VALUES (?, ?)", turn, JSON.stringify(notice));
}

export function readNotices(db: Database): TurnNotice[] {
  const rows = db.read<{ turn: number; notice: string }>("SELECT turn, notice FROM outbox ORDER BY turn");
  return rows.map(({ turn, notice }) => ({ turn, notice: JSON.parse(notice) as Notice }));
}

export function deleteNotice(db: Database, turn: number): void {
  db.write(`notice ${turn}`, "DELETE FROM outbox WHERE turn = ?", turn);
}

/** Whom to tell of a turn; nobody where what it was asked is damaged. */
function notifyOf(db: Database, turn: number): Notify | null {
  const [row] = db.read<{ options: string }>("SELECT options FROM turns WHERE turn = ?", turn);
  try {
    return (JSON.parse(row?.options ?? "{}") as Partial<TurnOptions>).notify ?? null;
  } catch {
    return null;
  }
}
