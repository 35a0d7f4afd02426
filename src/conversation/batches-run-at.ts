// Where lines of batches run, as far as the settings say.
import { originSettings, type OriginEnv } from "../engine/origin/settings.ts";

/** Throws `invalid_config`. */
export const batchesRunAt = (env: OriginEnv): "edge" | "origin" =>
  originSettings(env, "any")?.takesBatches ? "origin" : "edge";
