// Reads a turn to its end.
import type { GeneratedToken } from "./engine.ts";
import type { PlacedEngine, PlacedResult } from "./placed.ts";

/** Hands on each token. Whatever happens, the engine gets its slot back. */
export async function readAll(
  events: ReturnType<PlacedEngine["generate"]>,
  each: (token: GeneratedToken) => Promise<void> | void,
): Promise<PlacedResult> {
  let next = await events.next();
  try {
    for (; !next.done; next = await events.next()) {
      const passed = each(next.value);
      if (passed !== undefined) await passed;
    }
    return next.value;
  } catch (error) {
    await events.throw(error).catch(() => undefined);
    throw error;
  }
}
