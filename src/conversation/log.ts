// The log of a running turn: the tokens it has generated so far, packed, a row for each time they are written. It is
// what a recovery has to give again; the commit replaces it.
import type { Database } from "./database.ts";
import { packTokens, unpackTokens } from "./parts.ts";
import { placeOfRunning } from "./turns.ts";

/** Throws `not_found` where the turn does not run any more. */
export function addToLog(db: Database, turn: number, tokens: readonly number[]): void {
  placeOfRunning(db, turn);
  db.write(
    `the log of turn ${turn}`,
    "INSERT INTO log (turn, part, tokens) SELECT ?, count(*), ? FROM log WHERE turn = ?",
    turn,
    packTokens(tokens),
    turn,
  );
}

/** Up to the first damaged or missing part: what comes after it can be generated again, as it was. */
export function readLog(db: Database, turn: number): number[] {
  const query = "SELECT part, tokens FROM log WHERE turn = ? ORDER BY part";
  const log: number[] = [];
  for (const [i, row] of db.read<{ part: number; tokens: ArrayBuffer }>(query, turn).entries()) {
    const tokens = unpackTokens(new Uint8Array(row.tokens));
    if (row.part !== i || tokens === null) break;
    for (const token of tokens) log.push(token);
  }
  return log;
}

export function deleteLog(db: Database, turn: number): void {
  db.write(`the log of turn ${turn}`, "DELETE FROM log WHERE turn = ?", turn);
}
