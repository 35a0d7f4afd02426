// How long conversations and responses are kept: so many days after they were last used, or less where a conversation
// asks for less. Used means written to: a turn, items, metadata.
import { GriffinError } from "../errors.ts";
import type { Env } from "./env.ts";
import type { ConversationView } from "./protocol.ts";
import type { Store } from "./store.ts";

const dayMs = 24 * 3_600_000;
/** As long as OpenAI keeps responses at least. */
const defaultDays = 30;
const mostDays = 36_500;

/** How long what is not used is kept, as RETENTION_DAYS says; Infinity where that is 0. */
export function retentionMs({ RETENTION_DAYS: days }: Pick<Env, "RETENTION_DAYS">): number {
  if (!days) return defaultDays * dayMs;
  const count = Number(days);
  if (Number.isFinite(count) && count >= 0 && count <= mostDays) return count === 0 ? Infinity : count * dayMs;
  throw new GriffinError("invalid_config", `RETENTION_DAYS must be a number from 0, for ever, to ${mostDays}.`);
}

/** When a conversation goes unless it is used before; Infinity for never. */
export const expiryMs = ({ activeMs, expiresAfterS }: ConversationView, keepMs: number): number =>
  activeMs + Math.min(keepMs, expiresAfterS === null ? Infinity : expiresAfterS * 1000);

/** Deletes what was kept long enough, and says when there will be more to delete; Infinity for never. */
export function removeExpired(store: Store, keepMs: number, nowMs: number): number {
  const dueMs = nextExpiryMs(store, keepMs);
  if (dueMs > nowMs) return dueMs;
  for (const view of store.branches()) {
    if (expiryMs(view, keepMs) > nowMs) continue;
    // What goes on from it by another way may have been used later.
    const alone = store.turnsOfBranchAlone(view.branch).map((turn) => store.step(turn));
    const activeMs = Math.max(...alone.map((step) => step?.createdMs ?? 0), view.activeMs);
    const isRunning = alone.some((step) => step?.status === "in_progress");
    if (!isRunning && expiryMs({ ...view, activeMs }, keepMs) <= nowMs) store.removeBranch(view.branch);
    else if (activeMs > view.activeMs) store.touchBranch(view.branch, activeMs);
  }
  store.removeOldTurns(nowMs - keepMs, Number.MAX_SAFE_INTEGER);
  return nextExpiryMs(store, keepMs);
}

/** When something of what is stored will have been kept long enough. */
export function nextExpiryMs(store: Store, keepMs: number): number {
  const oldestMs = store.oldestLooseTurnMs();
  const branches = store.branches().map((view) => expiryMs(view, keepMs));
  return Math.min(...branches, oldestMs === null ? Infinity : oldestMs + keepMs);
}
