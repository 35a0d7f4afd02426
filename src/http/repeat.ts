// Repeated requests. Clients send a request again when no answer came; the turn must not be there twice.
// `Idempotency-Key` says which requests are one; with another body it is an error. openai's clients send none, but count
// their attempts in `x-stainless-retry-count`: an attempt after the first looks for the latest turn that the same
// request began in the object it names, or in the one that the first attempt made. Without either, equal requests are
// two turns. Lines of batches have names of their own.
import type { Context } from "hono";
import { rememberedMs } from "../conversation/protocol.ts";
import { callerOf } from "./caller.ts";
import type { AppEnv } from "./context.ts";
import { requestError } from "./errors.ts";
import { hashedName, randomName } from "./object-names.ts";
import { namedRequestStub } from "./stubs.ts";

const keyHeader = "idempotency-key";
const keyLimit = 255;
/** openai's clients give up an attempt after ten minutes and wait seconds before the next. */
const retryWithinMs = 15 * 60_000;

export interface Repeat {
  repeatKey: string;
  repeatWithinMs: number;
  /** Whether the caller named the request. */
  isNamed: boolean;
  /** For the object that the request may make: at random, but the same one when the request comes again. */
  newObject: string;
}

/**
 * Under which key a turn of this request is kept, and how far back to look for one. `makesObject`: the request names no
 * object, so what it makes is a new one. Fails with `key_reused`.
 */
export async function repeatOf(context: Context<AppEnv>, body: string, makesObject: boolean): Promise<Repeat> {
  const { req: request } = context;
  const caller = callerOf(context.env);
  if (caller !== null) {
    const named = await hashedName("caller", caller.request);
    return {
      repeatKey: named,
      repeatWithinMs: rememberedMs,
      isNamed: true,
      newObject: await hashedName("made", named),
    };
  }
  const repeatKey = await hashedName("body", request.path, body);
  const key = request.header(keyHeader);
  if (key === undefined) {
    const attempts = request.header("x-stainless-retry-count");
    const isFirst = !(Number(attempts ?? 0) > 0);
    const repeatWithinMs = isFirst ? 0 : retryWithinMs;
    const counts = makesObject && attempts !== undefined;
    const newObject = counts ? await attemptedObject(context, repeatKey, isFirst) : randomName();
    return { repeatKey, repeatWithinMs, isNamed: false, newObject };
  }
  if (key === "" || key.length > keyLimit) {
    throw requestError("invalid_argument", `${keyHeader}: expected 1 to ${keyLimit} characters.`, keyHeader);
  }
  const named = await hashedName("named", key, request.path);
  const newObject = await namedRequestStub(context, named).rememberName(randomName(), repeatKey);
  return { repeatKey: named, repeatWithinMs: rememberedMs, isNamed: true, newObject };
}

/** The object that the first attempt at a request made. Two callers may ask the same: each has its own. */
async function attemptedObject(context: Context<AppEnv>, repeatKey: string, isFirst: boolean): Promise<string> {
  const caller = context.req.header("cf-connecting-ip") ?? "";
  const attempted = await hashedName("attempted", repeatKey, caller);
  return namedRequestStub(context, attempted).nameAttempt(randomName(), isFirst, retryWithinMs);
}
