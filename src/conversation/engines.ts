// The engines of this isolate, one a checkpoint, shared by all its objects: weights are nobody's secret and too large to
// have twice. Conversation data never stays here: an engine holds a state only while its turn runs.
import kernelModule from "../../dist/griffin-relaxed.wasm";
import type { OpenFile } from "../engine/edge.ts";
import { loadPlaced } from "../engine/load-placed.ts";
import { CircuitBreaker } from "../engine/origin/circuit-breaker.ts";
import { originSettings } from "../engine/origin/settings.ts";
import type { PlacedEngine } from "../engine/placed.ts";
import { GriffinError } from "../errors.ts";
import { EnginePool } from "./engine-pool.ts";
import type { Env } from "./env.ts";
import { countOriginFailure } from "./metrics.ts";

/** Where a checkpoint's files lie: below a path of the static assets, or below a prefix of the R2 bucket. */
interface Location {
  source: "assets" | "r2";
  path: string;
}

/** Hosted isolates have 128 MB for everything; this is what the WASM memories of all models may take of it unless told. */
const defaultMemoryMb = 96;
/** Turns that can hold a state at once, where memory has room for them. */
const mostSlots = 32;

/** One for each model and origin: an engine that goes and comes again still knows that its origin is away. */
const breakers = new Map<string, CircuitBreaker>();

let pool: EnginePool<PlacedEngine> | undefined;

/** What the WASM memories of all models may take together. Throws `invalid_config`. */
export function memoryLimitBytes({ MODEL_MEMORY_MB: megabytes }: Pick<Env, "MODEL_MEMORY_MB">): number {
  if (megabytes && !/^[1-9]\d{0,3}$/.test(megabytes)) {
    throw new GriffinError("invalid_config", "MODEL_MEMORY_MB must be a whole number from 1 to 9999.");
  }
  return Number(megabytes || defaultMemoryMb) * 2 ** 20;
}

/** The ids of the configured models, the default first. */
export function modelIds(env: Pick<Env, "MODELS">): string[] {
  return [...locations(env).keys()];
}

/**
 * The engine of a model, loaded if need be. Throws `model_not_found` for an id that is not configured, and `overloaded`
 * while others use the memory it needs.
 */
export async function engineOf(model: string, env: Env): Promise<PlacedEngine> {
  const location = locations(env).get(model);
  if (location === undefined) {
    throw new GriffinError("model_not_found", `There is no model "${model}"; there are: ${modelIds(env).join(", ")}.`);
  }
  const wholeLimitBytes = memoryLimitBytes(env);
  pool ??= new EnginePool<PlacedEngine>(wholeLimitBytes);
  return pool.engine(model, async (inMemory, heard) => {
    const open = location.source === "r2" ? bucketOpener(location.path, env) : assetOpener(location.path, env);
    const memory = { slots: mostSlots, wholeLimitBytes, inMemory };
    return loadPlaced(kernelModule, open, { ...memory, heard, origin: originOf(model, env) });
  });
}

/** Where a model's origin is and what goes there; null where there is none. Throws `invalid_config`. */
function originOf(model: string, env: Env) {
  const settings = originSettings(env, model);
  if (settings === null) return null;
  const originFailed = ({ code, message }: GriffinError) => {
    countOriginFailure(model, code);
    // What an origin says of a request speaks of its sizes, not of what was said.
    console.error(JSON.stringify({ event: "origin_failed", model, error_code: code, error_message: message }));
  };
  const { ORIGIN } = env;
  const place = `${model} ${settings.url}`;
  const breaker = breakers.get(place) ?? new CircuitBreaker();
  breakers.set(place, breaker);
  return {
    ...settings,
    breaker,
    ...(ORIGIN && { fetch: (url: string, init: RequestInit) => ORIGIN.fetch(url, init) }),
    originFailed,
  };
}

function assetOpener(path: string, env: Env): OpenFile {
  return async (name) => {
    const { status, body } = await env.ASSETS.fetch(`https://assets.invalid/${path}/${name}`);
    if (status === 200 && body !== null) return body;
    if (status === 404) throw missing(`There is no static asset ${path}/${name}.`);
    throw new GriffinError("io_failed", `The static asset ${path}/${name} cannot be read: status ${status}.`);
  };
}

function bucketOpener(path: string, env: Env): OpenFile {
  return async (name) => {
    const bucket = env.MODELS_BUCKET;
    if (bucket === undefined) {
      throw missing(`The model at ${path} lies in R2, but no bucket is bound as MODELS_BUCKET.`);
    }
    const object = await bucket.get(`${path}/${name}`).catch((cause: unknown) => {
      throw new GriffinError("io_failed", `The R2 object ${path}/${name} cannot be read.`, { cause });
    });
    if (object === null) throw missing(`There is no R2 object ${path}/${name}.`);
    return object.body;
  };
}

/** A fault of whoever configured the model, not of whoever asked for it: not `not_found`. */
const missing = (message: string) => new GriffinError("invalid_config", message);

const defaultModels: Record<string, Location> = { pocket: { source: "assets", path: "models/pocket" } };

function locations(env: Pick<Env, "MODELS">): Map<string, Location> {
  if (env.MODELS === undefined) return new Map(Object.entries(defaultModels));
  const value: unknown = parse(env.MODELS);
  if (!isLocations(value)) {
    throw new GriffinError(
      "invalid_config",
      'MODELS must be JSON such as {"pocket": {"source": "assets", "path": "models/pocket"}}; source is "assets" or "r2".',
    );
  }
  return new Map(Object.entries(value));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isLocations(value: unknown): value is Record<string, Location> {
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) return false;
  return Object.values(value).every(
    (each: unknown) =>
      typeof each === "object" &&
      each !== null &&
      "source" in each &&
      "path" in each &&
      (each.source === "assets" || each.source === "r2") &&
      typeof each.path === "string",
  );
}
