// Loads a checkpoint where it can run: here, if its weights are here and fit, and at its origin, if it has one.
import type { Checkpoint, OpenFile } from "../checkpoint/load.ts";
import { GriffinError } from "../errors.ts";
import { weightsFile } from "../model/graph.ts";
import { EdgeEngine, type EdgeOptions } from "./edge.ts";
import { Instance } from "./instance.ts";
import { openModel } from "./opened-model.ts";
import { OriginEngine, type OriginOptions } from "./origin/origin.ts";
import { PlacedEngine, type PlacedOptions } from "./placed.ts";

export interface LoadOptions extends EdgeOptions {
  /** null where there is none: then the checkpoint must be here. */
  origin: (OriginOptions & Pick<PlacedOptions, "prefillTokens" | "takesBatches" | "originFailed">) | null;
  /** What a model may take when it has all memory for itself, where `memoryLimitBytes` is less. */
  wholeLimitBytes: number;
}

/**
 * The checkpoint in a folder. With an origin, weights need not be there, nor fit.
 * @throws GriffinError `model_too_large` where it does not fit into `memoryLimitBytes`, but more is to be had, or it has
 *   no origin; what is wrong with its files
 */
export async function loadPlaced(
  module: WebAssembly.Module,
  open: OpenFile,
  { origin, wholeLimitBytes, ...options }: LoadOptions,
): Promise<PlacedEngine> {
  let hasWeights = true;
  const noting: OpenFile = async (name) => {
    try {
      return await open(name);
    } catch (error) {
      if (name === weightsFile && isMissing(error)) hasWeights = false;
      throw error;
    }
  };
  const { checkpoint, model } = await openModel(noting, options.createHash, options.heard);
  const load = async () => new EdgeEngine(model, await Instance.load(module, checkpoint, options));
  if (origin === null) return new PlacedEngine({ edge: await load(), origin, prefillTokens: 1, takesBatches: false });

  const edge = await load().catch(async (error: unknown) => {
    if (!hasWeights) return null;
    const isTooLarge = error instanceof GriffinError && error.code === "model_too_large";
    if (isTooLarge && !(await fits(module, checkpoint, { ...options, memoryLimitBytes: wholeLimitBytes }))) return null;
    throw error;
  });
  return new PlacedEngine({ ...origin, edge, origin: new OriginEngine(model, origin) });
}

/** Whoever opens files may call it a fault of the configuration that one is not there. */
const isMissing = (error: unknown) =>
  error instanceof GriffinError && (error.code === "not_found" || error.code === "invalid_config");

async function fits(module: WebAssembly.Module, checkpoint: Checkpoint, options: EdgeOptions): Promise<boolean> {
  try {
    await Instance.prepare(module, checkpoint, options);
    return true;
  } catch (error) {
    if (error instanceof GriffinError && error.code === "model_too_large") return false;
    throw error;
  }
}
