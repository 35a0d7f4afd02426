// One turn from its stored request to its commit. Everything it needs is in the store, so it can be begun again by
// another process: the same tokens come, because sampling depends on seed and position alone.
import type { TurnResult } from "../engine/engine.ts";
import { isOfOrigin, type PlacedEngine } from "../engine/placed.ts";
import { readAll } from "../engine/read-all.ts";
import { createSpelling } from "../engine/spelling.ts";
import { GriffinError, type ErrorCode } from "../errors.ts";
import type { RunningCharge } from "./charges.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import type { LiveTurn } from "./live-turn.ts";
import { moderationOf, outputGate } from "./moderation.ts";
import type { TurnEvent, TurnStatus, TurnUsage, TurnView } from "./protocol.ts";
import { readingOf, type Reading } from "./reading.ts";
import { identityOf } from "./recall.ts";
import { ReplyLog } from "./reply-log.ts";
import type { Store, TokenLogProbabilities, TurnRow } from "./store.ts";
import { tokenEvent } from "./token-event.ts";
import { turnRow, viewOf } from "./view.ts";

export interface TurnHost {
  store: Store;
  env: Env;
  charge: RunningCharge;
  now(): number;
  /** Whether turns are to be found by their texts. */
  keepsPrefixes: boolean;
  /** Called once, when the turn is over. */
  ended(view: TurnView): void;
}

type TokenEvent = TurnEvent & { type: "token" };

/** A turn that was interrupted more often fails: it may be what interrupts. */
const mostAttempts = 4;
/** So long after the model's files could not be read, they are asked for again. */
const reloadAfterMs = 1_000;

const statusOf = { stop: "completed", length: "incomplete", cancelled: "cancelled" } as const satisfies Record<
  TurnResult["finishReason"],
  TurnStatus
>;

/** Runs a turn to its end, whatever that is. Never throws; a turn that was deleted meanwhile ends without a word. */
export async function runTurn(host: TurnHost, live: LiveTurn): Promise<void> {
  const { store } = host;
  let rest: string | undefined;
  try {
    while (rest === undefined) rest = await attempt(host, live);
  } catch (error) {
    const failure = publicError(error);
    orNull(() => store.fail(live.turn, failure, host.now(), live.usage));
  }
  // What is kept of the turn may be damaged, or gone with its conversation.
  const row = orNull(() => store.turn(live.turn));
  if (row !== null) {
    live.add({ type: "ended", rest: rest ?? "", view: viewOf(row) });
    host.ended(viewOf(row));
  }
  live.end();
}

function orNull<T>(ask: () => T): T | null {
  try {
    return ask();
  } catch {
    return null;
  }
}

/**
 * The text held back at the end; undefined when the turn has to be run again, because the engine broke under it or
 * does not come: an accepted turn waits for it.
 */
async function attempt(host: TurnHost, live: LiveTurn): Promise<string | undefined> {
  const { store, env } = host;
  const attempts = store.beginAttempt(live.turn);
  if (attempts > mostAttempts) {
    throw new GriffinError("internal", `The turn was interrupted ${mostAttempts} times.`);
  }
  const row = turnRow(store, live.turn);
  live.usage = null;
  let engine: PlacedEngine | undefined;
  try {
    const loading = engineOf(row.options.model, env);
    // Of one that was interrupted there may be a reply, which needs the engine to be kept.
    engine = attempts > 1 ? await loading : await orCancelled(loading, live.cancel.signal);
    return await generate(host, live, row, engine);
  } catch (error) {
    const { code, cause } = error instanceof GriffinError ? error : {};
    if (engine === undefined && code === "io_failed" && attempts < mostAttempts) {
      await new Promise((resolve) => void setTimeout(resolve, reloadAfterMs));
      return undefined;
    }
    if (!engine?.isBroken && code !== "overloaded") throw error;
    // Only the turn in which a kernel trapped may have made it trap.
    if (!(cause instanceof WebAssembly.RuntimeError)) store.takeBackAttempt(live.turn);
    return undefined;
  }
}

/** The engine, if the turn is not cancelled before it is there. */
function orCancelled(engine: Promise<PlacedEngine>, signal: AbortSignal): Promise<PlacedEngine> {
  const { promise, reject } = Promise.withResolvers<never>();
  const cancel = () => reject(new GriffinError("cancelled", "The turn was cancelled before it began."));
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  return Promise.race([engine, promise]);
}

async function generate(host: TurnHost, live: LiveTurn, row: TurnRow, engine: PlacedEngine): Promise<string> {
  const { store } = host;
  const { tokenizer } = engine;
  const moderation = moderationOf(host.env);
  const reading = await readingOf(host, live, row, engine, moderation);
  const { turn } = reading;
  const log = new ReplyLog<TokenEvent>({
    store,
    turn: row,
    mark: Number.parseInt(identityOf(engine).checkpoint.slice(0, 8), 16),
    // Of a batch nobody reads before the end. Begun anew, a turn may find no shared start, and read all of it elsewhere.
    isHeld: !turn.isBatch && !engine.isRepeatable({ ...turn, tokens: reading.unshared }),
    pass: (event) => live.add(event),
  });
  const gate = outputGate<TokenEvent>(moderation, (event) => log.pass(event));

  const count = turn.tokens.length;
  if (reading.newTokens > 0) live.usage = usageOf(reading, 0, 0, 0);
  const reply: number[] = [];
  const logProbabilities: TokenLogProbabilities[] = [];
  let text = "";
  const running = readAll(engine.generate({ ...turn, replied: log.replied }, live.cancel.signal), (next) => {
    const { token, logProbability, top } = next;
    const report = logProbability === undefined || top === undefined ? undefined : { logProbability, top };
    const details = log.add(token, report);
    const passed = gate.add(tokenEvent(reply.length, next, details, tokenizer));
    text += next.text;
    reply.push(token);
    live.usage = usageOf(reading, count, reply.length, count + reply.length - 1);
    if (details !== undefined) logProbabilities.push(details);
    return passed;
  });
  const result = await running
    .catch((error: unknown) => {
      const isKept = isOfOrigin(error) && live.cancel.signal.aborted && reply.length > 0;
      if (!isKept) throw error;
      return lostResult(reading, engine, reply);
    })
    .finally(() => log.close());
  await gate.end(result.text);
  const { finishReason, placement, completionTokens, computedTokens } = result;
  if (finishReason === "cancelled" && reply.length === 0) {
    live.usage = usageOf(reading, computedTokens, 0, computedTokens);
    throw new GriffinError("cancelled", "The turn was cancelled before its first token.");
  }
  const outcome = {
    status: statusOf[finishReason],
    text: text + result.text,
    finishReason,
    state: reading.origin,
    placement,
    usage: usageOf(reading, count, completionTokens, computedTokens),
    promptTokens: reading.prompt,
    replyTokens: reply,
    logProbabilities: row.options.topLogProbabilities === null ? null : logProbabilities,
    nowMs: host.now(),
  };
  const kept = { state: result.state, identity: identityOf(engine), base: reading.base };
  const snapshot = row.options.store ? kept : null;
  store.commit(row.turn, outcome, snapshot, host.keepsPrefixes ? row.messages : null);
  await log.end();
  return result.text;
}

/** What there is of a turn that was cancelled in the middle of its reply, when its origin was lost with the state. */
function lostResult({ turn, position }: Reading, { tokenizer, manifest }: PlacedEngine, reply: readonly number[]) {
  const spelling = createSpelling(tokenizer, turn.stop ?? [], manifest.stop_token_ids);
  for (const token of reply) spelling.push(token);
  return {
    text: spelling.end(),
    finishReason: "cancelled" as const,
    placement: "origin" as const,
    completionTokens: reply.length,
    computedTokens: turn.tokens.length + reply.length - 1,
    state: { position: position + turn.tokens.length + reply.length, data: null },
  };
}

/** What a turn cost that so far read so many tokens behind its state, and ran so many through the model. */
const usageOf = (
  { position, newTokens }: Reading,
  readTokens: number,
  completionTokens: number,
  computedTokens: number,
): TurnUsage => ({
  promptTokens: position + readTokens,
  cachedTokens: position - newTokens,
  completionTokens,
  computedTokens: newTokens + computedTokens,
});

/** What a caller may know of a failure. */
export function publicError(error: unknown): { code: ErrorCode; message: string } {
  if (error instanceof GriffinError) return { code: error.code, message: error.message };
  // Messages of errors that are not ours may quote what users said; where they come from does not.
  const { name, stack = "" } = error instanceof Error ? error : new Error();
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  console.error(
    JSON.stringify({ event: "turn_failed", error_name: name, error_stack: frames.map((line) => line.trim()) }),
  );
  return { code: "internal", message: "The turn failed for a reason of ours." };
}
