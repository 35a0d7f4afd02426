// The turn of a delivery: let in under the key that made the hook, begun in the conversation that the delivery's key names,
// and read to its end. Asked again it attaches to the turn that is there.
import { settle } from "../conversation/charges.ts";
import { conversationName, hashedName, idHead } from "../conversation/names.ts";
import { rememberedMs, type TurnOptions, type TurnView } from "../conversation/protocol.ts";
import { GriffinError, isPassing, isTaken, type ErrorCode } from "../errors.ts";
import { registryName } from "../outbox/env.ts";
import type { Open } from "./deliveries.ts";
import type { InboxEnv } from "./env.ts";
import type { ClosedReason, NewHook } from "./protocol.ts";

/** How long to wait for a conversation that has another turn in progress, and for whatever else is taken. */
const busyMs = 1_000;
/** A key's conversations that were deleted, one after another within a day: above that it is given up. */
const mostGenerations = 100;

/** Faults of this server: their messages may quote what was being read, and are for its log. */
const isOurs: ReadonlySet<ErrorCode> = new Set([
  ...(["data_damaged", "hash_mismatch", "internal", "invalid_checkpoint"] as const),
  ...(["invalid_config", "invalid_graph", "io_failed"] as const),
]);

/** What came of an attempt. */
export type Outcome =
  | { type: "ended"; view: TurnView }
  /** Something is taken at the moment. */
  | { type: "later"; waitMs: number }
  /** It failed; `isPassing`: it may go well the next time. */
  | { type: "failed"; code: string; message: string; isPassing: boolean };

/** What a hook's object does for the turn. */
export interface TurnKeeper {
  began(object: string, turn: number): void;
  /** There is no turn any more: the next attempt begins another one. */
  ended(): void;
  generation: number;
  setGeneration(generation: number): void;
}

/** Never throws. */
export async function runDelivery(hook: NewHook, delivery: Open, keeper: TurnKeeper, env: InboxEnv): Promise<Outcome> {
  try {
    const { object, turn } = await begun(hook, delivery, keeper, env);
    const stub = conversationOf(hook, object, env);
    const events = await stub.events(turn);
    // Nothing of it is wanted but its end.
    for await (const _ of events) continue;
    const view = await stub.view(turn);
    // Whoever ran it has died: it is found, and goes on.
    if (view.status === "in_progress") return { type: "later", waitMs: busyMs };
    if (view.status !== "failed" || view.error === null) return { type: "ended", view };
    if (!isTaken(view.error.code)) return failedWith(view.error);
    // It did not come to be: another turn is begun later, and nothing of this one stays.
    keeper.ended();
    await stub.remove(turn);
    return { type: "later", waitMs: busyMs };
  } catch (error) {
    return error instanceof Wait ? { type: "later", waitMs: error.waitMs } : outcomeOf(error);
  }
}

/** Something is taken: come again. */
class Wait extends Error {
  readonly waitMs: number;
  constructor(waitMs: number) {
    super("Something is taken.");
    this.waitMs = waitMs;
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : undefined);

function outcomeOf(error: unknown): Outcome {
  const code = codeOf(error);
  if (isTaken(code)) return { type: "later", waitMs: busyMs };
  // What has no code was not meant, and may not come again.
  if (typeof code !== "string") return failedWith({ code: "internal", message: "" });
  return failedWith({ code: code as ErrorCode, message: error instanceof Error ? error.message : "" });
}

function failedWith({ code, message }: { code: ErrorCode; message: string }): Outcome {
  const said = isOurs.has(code) ? "The server failed to answer this request." : message;
  return { type: "failed", code, message: said, isPassing: isPassing(code) };
}

const conversationOf = ({ tenant }: NewHook, object: string, { CONVERSATIONS }: InboxEnv) =>
  CONVERSATIONS.get(CONVERSATIONS.idFromName(conversationName(tenant, object)));

/** The turn of a delivery, begun unless it was. */
async function begun(
  hook: NewHook,
  delivery: Open,
  keeper: TurnKeeper,
  env: InboxEnv,
): Promise<{ object: string; turn: number }> {
  if (delivery.object !== null && delivery.turn !== null) return { object: delivery.object, turn: delivery.turn };
  const object = await conversation(hook, delivery, keeper, env);
  const stub = conversationOf(hook, object, env);
  // Looked at first, for being let in is a request of the key's, also where nothing comes of it.
  if (await stub.isBusy(0)) throw new Wait(busyMs);
  const chargedTo = await admitted(hook, delivery.input, env);
  const options: TurnOptions = {
    ...optionsOf(hook),
    chargedTo,
    notify: {
      registry: registryName(hook.tenant),
      url: null,
      idHead: idHead("response", object),
      isBegunAgain: true,
    },
  };
  const { turn } = await stub
    .begin({
      place: { kind: "branch", branch: 0 },
      messages: [{ role: "user", content: delivery.input }],
      options,
      endsWithClient: false,
      repeatKey: delivery.digest,
      repeatWithinMs: rememberedMs,
      isNamed: true,
      metadata: {},
    })
    .catch(async (error: unknown) => {
      const code = codeOf(error);
      // Without a code nobody knows whether it was begun. If it was, it settles its charge itself; else that lapses.
      if (code !== undefined) await settle(chargedTo, null, env);
      // The conversation was deleted at this moment: another one follows it.
      throw code === "not_found" ? new Wait(busyMs) : error;
    });
  keeper.began(object, turn);
  return { object, turn };
}

/** A hook's options with other dice. */
const optionsOf = ({ options }: NewHook): TurnOptions => ({
  ...options,
  seed: String(crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n),
});

/** Name of the conversation's object. It is made, with the instructions in it, where there is none; a deleted one is followed by another. */
async function conversation(hook: NewHook, { conversation_key: key }: Open, keeper: TurnKeeper, env: InboxEnv) {
  const first = keeper.generation;
  for (let generation = first; generation < first + mostGenerations; generation++) {
    const object = await hashedName("hook", hook.id, key, String(generation));
    try {
      const messages = hook.instructions === null ? [] : [{ role: "developer" as const, content: hook.instructions }];
      const items = { messages, options: optionsOf(hook), repeatKey: null, repeatWithinMs: 0, isNamed: false };
      await conversationOf(hook, object, env).create({ hook: hook.id }, messages.length > 0 ? items : null);
      if (generation > first) keeper.setGeneration(generation);
      return object;
    } catch (error) {
      if (codeOf(error) !== "not_found") throw error;
    }
  }
  throw new GriffinError("not_found", "The conversation was deleted too often.");
}

/** Lets the turn in under the hook's key; null where the server is open. */
async function admitted({ tenant, key, instructions, options }: NewHook, input: string, env: InboxEnv) {
  if (key === null) return null;
  // No text has more tokens than bytes.
  const mostTokens = new TextEncoder().encode(input + (instructions ?? "")).byteLength + options.maxTokens;
  const stub = env.TENANTS.get(env.TENANTS.idFromName(tenant));
  const admission = await stub.admit({ key, scope: "write", mostTokens });
  if (admission.status === "limited") throw new Wait(Math.max(admission.retryAfterMs, busyMs));
  if (admission.status === "too_large") {
    const most = `which is ${admission.mostTokens}`;
    throw new GriffinError(
      "invalid_argument",
      `The turn may run more tokens than the key may use in a minute, ${most}.`,
    );
  }
  if (admission.status !== "admitted") throw noKey();
  return admission.charge === null ? null : { tenant, charge: admission.charge, tokens: mostTokens };
}

/** Why the key that made the hook may ask for no more work; null where it may. */
export async function closedReason(
  { tenant, key }: Pick<NewHook, "tenant" | "key">,
  env: InboxEnv,
): Promise<ClosedReason | null> {
  if (key === null) return env.ACCESS === "open" ? null : "no_key";
  try {
    const { revokedMs, expiresMs, scopes } = await env.TENANTS.get(env.TENANTS.idFromName(tenant)).key(key);
    if (revokedMs !== null) return "key_revoked";
    if ((expiresMs ?? Infinity) <= Date.now()) return "key_expired";
    return scopes.includes("write") ? null : "key_may_not_write";
  } catch (error) {
    if (codeOf(error) === "not_found") return "key_deleted";
    throw error;
  }
}

const noKey = () => new GriffinError("invalid_api_key", "The key that made this hook is good for nothing any more.");
