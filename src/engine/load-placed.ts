// Loads a checkpoint where it can run: here, if its weights are here and fit, and at its origin, if it has one.
import type { Checkpoint, OpenFile } from "../checkpoint/load.ts";
import { GriffinError } from "../errors.ts";
import { weightsFile } from "../model/graph.ts";
import { EdgeEngine, type EdgeOptions } from "./edge.ts";
import { Instance } from "./instance.ts";
import { openModel } from "./opened-model.ts";
import { OriginEngine, type OriginOptions } from "./origin/origin.ts";
import { PlacedEngine, type PlacedOptions } from "./placed.ts";

/** Has `use` take at most so much memory; where that throws `model_too_large`, perhaps again with more. */
export type InMemory = <T>(use: (limitBytes: number) => Promise<T>) => Promise<T>;

export interface LoadOptions extends Omit<EdgeOptions, "memoryLimitBytes"> {
  /** null where there is none: then the checkpoint must be here. */
  origin: (OriginOptions & Pick<PlacedOptions, "prefillTokens" | "takesBatches" | "originFailed">) | null;
  /** What a model may take that has all memory for itself. */
  wholeLimitBytes: number;
  /** Where others have some of it. */
  inMemory?: InMemory;
}

/**
 * The checkpoint in a folder. With an origin, weights need not be there, nor fit; it takes no memory then.
 * @throws GriffinError `model_too_large` where it does not fit and has no origin; what is wrong with its files
 */
export async function loadPlaced(
  module: WebAssembly.Module,
  open: OpenFile,
  { origin, wholeLimitBytes, inMemory = (use) => use(wholeLimitBytes), ...options }: LoadOptions,
): Promise<PlacedEngine> {
  const { checkpoint, model } = await openModel(open, options.createHash, options.heard);
  const load = (memoryLimitBytes: number) => Instance.load(module, checkpoint, { ...options, memoryLimitBytes });
  const edge = async () => new EdgeEngine(model, await inMemory(load));
  if (origin === null) return new PlacedEngine({ edge: await edge(), origin, prefillTokens: 1, takesBatches: false });

  const whole = { ...options, memoryLimitBytes: wholeLimitBytes };
  const isHere = (await fits(module, checkpoint, whole)) && (await hasWeights(open));
  return new PlacedEngine({ ...origin, edge: isHere ? await edge() : null, origin: new OriginEngine(model, origin) });
}

/** Other faults than that they are not there are told when they are read. */
async function hasWeights(open: OpenFile): Promise<boolean> {
  try {
    await (await open(weightsFile)).cancel();
    return true;
  } catch (error) {
    return !isMissing(error);
  }
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
