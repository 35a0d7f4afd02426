// The log of a running turn: the tokens it has generated so far, packed, a row for each time they are written. It is
// what a recovery has to give again; the commit replaces it. It begins with a mark of whose tokens it holds.
import type { Database } from "./database.ts";
import { packTokens, unpackTokens } from "./parts.ts";
import { placeOfRunning } from "./turns.ts";

/** Throws `not_found` where the turn does not run any more. `mark`: a u32 that names the model. */
export function addToLog(db: Database, turn: number, mark: number, tokens: readonly number[]): void {
  placeOfRunning(db, turn);
  const part = countParts(db, turn);
  db.write(
    `the log of turn ${turn}`,
    "INSERT INTO log (turn, part, tokens) VALUES (?, ?, ?)",
    turn,
    part,
    packTokens(part === 0 ? [mark, ...tokens] : tokens),
  );
}

/**
 * The tokens under this mark, up to the first damaged or missing part. What comes after it is deleted: it will be
 * generated again, as it was.
 */
export function openLog(db: Database, turn: number, mark: number): number[] {
  const query = "SELECT part, tokens FROM log WHERE turn = ? ORDER BY part";
  const log: number[] = [];
  let good = 0;
  for (const row of db.read<{ part: number; tokens: ArrayBuffer }>(query, turn)) {
    const tokens = unpackTokens(new Uint8Array(row.tokens));
    if (row.part !== good || tokens === null) break;
    if (good === 0 && tokens.shift() !== mark) break;
    good++;
    for (const token of tokens) log.push(token);
  }
  if (countParts(db, turn) > good) {
    db.write(`the log of turn ${turn}`, "DELETE FROM log WHERE turn = ? AND part >= ?", turn, good);
  }
  return log;
}

export function deleteLog(db: Database, turn: number): void {
  db.write(`the log of turn ${turn}`, "DELETE FROM log WHERE turn = ?", turn);
}

function countParts(db: Database, turn: number): number {
  return db.read<{ parts: number }>("SELECT count(*) AS parts FROM log WHERE turn = ?", turn)[0]?.parts ?? 0;
}
