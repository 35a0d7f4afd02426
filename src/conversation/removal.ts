// Which turns may go, and their going. A turn stays while another goes on from it, or a branch will.
import type { Database } from "./database.ts";
import { deleteLog } from "./log.ts";
import { deletePrefix } from "./prefixes.ts";

/** Whether a turn needs those before it: it runs, or it can be gone on from. */
const needsPast = "(status = 'in_progress' OR end_position IS NOT NULL OR kind = 'items')";

/** Whether a turn is needed by one that goes on from it. */
export function isNeeded(db: Database, turn: number): boolean {
  return db.read(`SELECT 1 FROM turns WHERE parent = ? AND ${needsPast} LIMIT 1`, turn).length > 0;
}

/** Deletes rows, parts and logs of turns; their snapshots must be gone. Their numbers are not used again. */
export function deleteTurns(db: Database, turns: readonly number[]): void {
  db.write(
    "meta",
    "UPDATE meta SET value = max(value, coalesce((SELECT max(turn) FROM turns), 0)) WHERE key = 'last_turn'",
  );
  for (const turn of turns) {
    db.write(`turn ${turn}`, "DELETE FROM parts WHERE turn = ?", turn);
    deleteLog(db, turn);
    deletePrefix(db, turn);
    db.write(`turn ${turn}`, "DELETE FROM turns WHERE turn = ?", turn);
  }
}

/** Removed turns that no turn goes on from, and no branch: not even by way of other removed ones. */
export function findLeftovers(db: Database): number[] {
  const query = `
    WITH RECURSIVE needed (turn) AS (
      SELECT turn FROM turns WHERE NOT removed AND ${needsPast}
      UNION SELECT head FROM branches WHERE head IS NOT NULL
      UNION SELECT parent FROM turns JOIN needed USING (turn) WHERE parent IS NOT NULL
    )
    SELECT turn FROM turns WHERE removed AND turn NOT IN (SELECT turn FROM needed)`;
  return db.read<{ turn: number }>(query).map(({ turn }) => turn);
}

/**
 * Turns begun before a time, and the oldest above a number. Running ones stay, and so does all that branches or younger
 * ones go on from: whoever began those said it again.
 */
export function findOldTurns(db: Database, beforeMs: number, most: number): number[] {
  const query = `
    WITH RECURSIVE needed (turn) AS (
      SELECT turn FROM turns WHERE status = 'in_progress'
        OR created_ms >= ?1 AND turn IN (SELECT turn FROM turns ORDER BY turn DESC LIMIT ?2)
      UNION SELECT head FROM branches WHERE head IS NOT NULL
      UNION SELECT parent FROM turns JOIN needed USING (turn) WHERE parent IS NOT NULL
    )
    SELECT turn FROM turns WHERE turn NOT IN (SELECT turn FROM needed)`;
  return db.read<{ turn: number }>(query, beforeMs, most).map(({ turn }) => turn);
}

/** Turns on the path of a branch, or begun on it, and all that go on from them, but for paths of other branches. */
export function findTurnsOfBranchAlone(db: Database, branch: number): number[] {
  const query = `
    WITH RECURSIVE
      others (turn) AS (
        SELECT head FROM branches WHERE branch <> ?1 AND head IS NOT NULL
        UNION SELECT turns.turn FROM branches JOIN turns USING (branch) WHERE branch <> ?1
        UNION SELECT parent FROM turns JOIN others USING (turn) WHERE parent IS NOT NULL
      ),
      path (turn) AS (
        SELECT head FROM branches WHERE branch = ?1 AND head IS NOT NULL
        UNION SELECT turn FROM turns WHERE branch = ?1
        UNION SELECT parent FROM turns JOIN path USING (turn) WHERE parent IS NOT NULL
      ),
      alone (turn) AS (
        SELECT turn FROM path WHERE turn NOT IN (SELECT turn FROM others)
        UNION SELECT turns.turn FROM alone JOIN turns ON turns.parent = alone.turn
      )
    SELECT turn FROM alone`;
  return db.read<{ turn: number }>(query, branch).map(({ turn }) => turn);
}
