// What an operator says of the origin: variables of the worker, and its key, a secret.
import { GriffinError } from "../../errors.ts";
import { defaultPrefillTokens } from "../placement.ts";

export interface OriginSettings {
  /** Where the origin of the model is. */
  url: string;
  key?: string;
  /** Prompts of more tokens are read there. */
  prefillTokens: number;
  /** Whether lines of batches run there. */
  takesBatches: boolean;
}

/** As the environment has them. */
export interface OriginEnv {
  /** Where the origin is; `{model}` stands for the model's id, for an origin serves one model. None unless told. */
  ORIGIN_URL?: string;
  /** Secret: the origin's key, where it has one. Visible ASCII. */
  ORIGIN_KEY?: string;
  /** Prompts of more tokens are read at the origin; `defaultPrefillTokens` unless told. */
  ORIGIN_PREFILL_TOKENS?: string;
  /** "edge": lines of batches run at the edge, as all other requests. Unless told they run at the origin. */
  ORIGIN_BATCHES?: string;
}

/** The origin of a model; null where there is none. Throws `invalid_config`, naming the variable. */
export function originSettings(env: OriginEnv, model: string): OriginSettings | null {
  const { ORIGIN_URL, ORIGIN_KEY, ORIGIN_PREFILL_TOKENS: tokens, ORIGIN_BATCHES: batches } = env;
  if (!ORIGIN_URL) return null;
  const url = ORIGIN_URL.replaceAll("{model}", encodeURIComponent(model));
  // A query would end up in the middle of an address, and a password in logs.
  if (!/^https?:\/\/[^@?#\s]+$/.test(url) || !URL.canParse(url)) {
    throw bad("ORIGIN_URL", `an address such as https://origin.example or https://origin.example/{model}`);
  }
  if (/[^\x21-\x7e]/.test(ORIGIN_KEY ?? "")) throw bad("ORIGIN_KEY", "visible ASCII without white space");
  if (tokens && !/^[1-9]\d{0,8}$/.test(tokens)) throw bad("ORIGIN_PREFILL_TOKENS", "a whole number of at least 1");
  if (batches && batches !== "edge" && batches !== "origin") throw bad("ORIGIN_BATCHES", '"edge" or "origin"');
  return {
    url,
    ...(ORIGIN_KEY && { key: ORIGIN_KEY }),
    prefillTokens: tokens ? Number(tokens) : defaultPrefillTokens,
    takesBatches: batches !== "edge",
  };
}

/** Without the value: it may be a secret in the wrong place. */
const bad = (name: string, expected: string) => new GriffinError("invalid_config", `${name} must be ${expected}.`);
