// The log of a running turn: the tokens it has generated so far, packed, a row for each time they are written, with what
// was told of them. It is what a recovery has to give again; the commit replaces it. It begins with a mark of whose tokens
// it holds.
import type { Database } from "./database.ts";
import { packTokens, unpackTokens } from "./parts.ts";
import { placeOfRunning, type TokenLogProbabilities } from "./turns.ts";

/** What a log holds. */
export interface Logged {
  tokens: number[];
  /** Of each token; none where the turn reports none. */
  logProbabilities: TokenLogProbabilities[];
}

interface LogRow extends Record<string, number | string | null | ArrayBuffer> {
  part: number;
  tokens: ArrayBuffer;
  log_probabilities: string | null;
}

/** Throws `not_found` where the turn does not run any more. `mark`: a u32 that names the model. */
export function addToLog(db: Database, turn: number, mark: number, { tokens, logProbabilities }: Logged): void {
  placeOfRunning(db, turn);
  const part = countParts(db, turn);
  db.write(
    `the log of turn ${turn}`,
    "INSERT INTO log (turn, part, tokens, log_probabilities) VALUES (?, ?, ?, ?)",
    turn,
    part,
    packTokens(part === 0 ? [mark, ...tokens] : tokens),
    logProbabilities.length === 0 ? null : JSON.stringify(logProbabilities),
  );
}

/**
 * The tokens under this mark, up to the first damaged or missing part, or the first without reports where they are wanted.
 * What comes after it is deleted: it will be generated again, as it was.
 */
export function openLog(db: Database, turn: number, mark: number, isReported: boolean): Logged {
  const query = "SELECT part, tokens, log_probabilities FROM log WHERE turn = ? ORDER BY part";
  const log: Logged = { tokens: [], logProbabilities: [] };
  let good = 0;
  for (const row of db.read<LogRow>(query, turn)) {
    const tokens = unpackTokens(new Uint8Array(row.tokens));
    if (row.part !== good || tokens === null) break;
    if (good === 0 && tokens.shift() !== mark) break;
    const reports = isReported ? reportsIn(row.log_probabilities) : [];
    if (isReported && reports.length !== tokens.length) break;
    good++;
    for (const token of tokens) log.tokens.push(token);
    log.logProbabilities.push(...reports);
  }
  if (countParts(db, turn) > good) {
    db.write(`the log of turn ${turn}`, "DELETE FROM log WHERE turn = ? AND part >= ?", turn, good);
  }
  return log;
}

/** None where they are damaged or missing. */
function reportsIn(json: string | null): TokenLogProbabilities[] {
  try {
    const reports: unknown = JSON.parse(json ?? "[]");
    return Array.isArray(reports) ? (reports as TokenLogProbabilities[]) : [];
  } catch {
    return [];
  }
}

export function deleteLog(db: Database, turn: number): void {
  db.write(`the log of turn ${turn}`, "DELETE FROM log WHERE turn = ?", turn);
}

function countParts(db: Database, turn: number): number {
  return db.read<{ parts: number }>("SELECT count(*) AS parts FROM log WHERE turn = ?", turn)[0]?.parts ?? 0;
}
