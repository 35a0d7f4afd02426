// The engines of this isolate, one a checkpoint, shared by all its objects: weights are nobody's secret and too large to
// have twice. Conversation data never stays here: an engine holds a state only while its turn runs.
import kernelModule from "../../dist/griffin-relaxed.wasm";
import { EdgeEngine, type OpenFile } from "../engine/edge.ts";
import { GriffinError } from "../errors.ts";
import type { Env } from "./env.ts";

/** Where a checkpoint's files lie: below a path of the static assets, or below a prefix of the R2 bucket. */
interface Location {
  source: "assets" | "r2";
  path: string;
}

/** Hosted isolates have 128 MB for everything; this is what the WASM memories of all models may take of it. */
export const memoryLimitBytes = 96 * 2 ** 20;
/** Turns that can hold a state at once, where memory has room for them. */
const mostSlots = 32;
/** A load in which nothing moved for this long is given up by those who wait: the object that began it may have died,
 *  and what dies with an object never says so. */
const silenceMs = 5_000;
/** Loads that one caller begins before it gives up. */
const mostLoads = 2;

interface Loading {
  engine: Promise<EdgeEngine>;
  /** When something of it was last heard. */
  heardMs: number;
  /** The engine when it is there, and when it was last asked for. */
  loaded?: EdgeEngine;
  askedMs: number;
}

const engines = new Map<string, Loading>();

/** The ids of the configured models, the default first. */
export function modelIds(env: Pick<Env, "MODELS">): string[] {
  return [...locations(env).keys()];
}

/** The engine of a model, loaded if need be. Throws `model_not_found` for an id that is not configured. */
export async function engineOf(model: string, env: Env): Promise<EdgeEngine> {
  const location = locations(env).get(model);
  if (location === undefined) {
    throw new GriffinError("model_not_found", `There is no model "${model}"; there are: ${modelIds(env).join(", ")}.`);
  }
  for (let loads = 0; loads <= mostLoads;) {
    const known = engines.get(model);
    if (known === undefined) loads++;
    const loading = known ?? load(location, env, makeRoom(model));
    loading.askedMs = Date.now();
    engines.set(model, loading);
    const forget = () => {
      if (engines.get(model) === loading) engines.delete(model);
    };
    try {
      const engine = await heard(loading);
      if (engine !== undefined && !engine.isBroken) {
        loading.loaded = engine;
        return engine;
      }
      forget();
    } catch (error) {
      forget();
      // Another object's failure may be that object's alone: a body it lost, a limit it met.
      if (known === undefined) throw error;
    }
  }
  throw new GriffinError("io_failed", `The files of the model "${model}" do not come.`);
}

/**
 * What a model may take of the isolate's memory. Others that no turn uses are forgotten, the one asked for longest ago
 * first, until it may take half; those that are being loaded or used stay.
 */
function makeRoom(model: string): number {
  const others = [...engines].filter(([name, { loaded }]) => name !== model && loaded !== undefined);
  const idle = others.filter(([, { loaded }]) => !loaded?.isBusy).sort(([, a], [, b]) => a.askedMs - b.askedMs);
  const takenBytes = () => others.reduce((sum, [name]) => sum + bytesOf(engines.get(name)), 0);
  while (takenBytes() > memoryLimitBytes / 2 && idle.length > 0) engines.delete(idle.shift()?.[0] ?? "");
  return memoryLimitBytes - takenBytes();
}

const bytesOf = (loading: Loading | undefined) => loading?.loaded?.instance.layout.totalBytes ?? 0;

function load(location: Location, env: Env, limitBytes: number): Loading {
  const open = location.source === "r2" ? bucketOpener(location.path, env) : assetOpener(location.path, env);
  const listen: OpenFile = async (name) => {
    const body = await open(name);
    return body.pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          loading.heardMs = Date.now();
          controller.enqueue(chunk);
        },
      }),
    );
  };
  const options = { slots: mostSlots, memoryLimitBytes: limitBytes };
  const loading: Loading = {
    heardMs: Date.now(),
    askedMs: Date.now(),
    engine: Promise.resolve().then(() => EdgeEngine.load(kernelModule, listen, options)),
  };
  return loading;
}

/** The engine, once it is loaded; undefined when nothing was heard of it for too long. */
async function heard(loading: Loading): Promise<EdgeEngine | undefined> {
  for (;;) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const pause = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), silenceMs / 5);
    });
    const engine = await Promise.race([loading.engine, pause]).finally(() => clearTimeout(timer));
    if (engine !== undefined || loading.heardMs + silenceMs < Date.now()) return engine;
  }
}

function assetOpener(path: string, env: Env): OpenFile {
  return async (name) => {
    const { ok, body } = await env.ASSETS.fetch(`https://assets.invalid/${path}/${name}`);
    if (!ok || body === null) throw new GriffinError("not_found", `There is no static asset ${path}/${name}.`);
    return body;
  };
}

function bucketOpener(path: string, env: Env): OpenFile {
  return async (name) => {
    const bucket = env.MODELS_BUCKET;
    if (bucket === undefined) {
      throw new GriffinError("not_found", `The model at ${path} lies in R2, but no bucket is bound as MODELS_BUCKET.`);
    }
    const object = await bucket.get(`${path}/${name}`);
    if (object === null) throw new GriffinError("not_found", `There is no R2 object ${path}/${name}.`);
    return object.body;
  };
}

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
