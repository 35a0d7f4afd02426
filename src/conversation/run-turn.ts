// One turn from its stored request to its commit. Everything it needs is in the store, so it can be begun again by
// another process: the same tokens come, because sampling depends on seed and position alone.
import { isOfOrigin, type PlacedEngine, type PlacedResult } from "../engine/placed.ts";
import type { GeneratedToken, Turn, TurnResult } from "../engine/engine.ts";
import { createSpelling } from "../engine/spelling.ts";
import { GriffinError, type ErrorCode } from "../errors.ts";
import { renderPrompt } from "../model/chat-template.ts";
import type { RunningCharge } from "./charges.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import type { LiveTurn } from "./live-turn.ts";
import { moderationOf, outputGate } from "./moderation.ts";
import type { TurnEvent, TurnOptions, TurnStatus, TurnUsage, TurnView } from "./protocol.ts";
import { identityOf, recall, recentTokens, type Past } from "./recall.ts";
import { ReplyLog } from "./reply-log.ts";
import { sharedStart, type Start } from "./shared-start.ts";
import type { Store, TokenLogProbabilities, TurnRow } from "./store.ts";
import { tokenEvent } from "./token-event.ts";
import { formatOf, toldTools } from "./turn-format.ts";
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
  const { tokenizer, chat } = engine;
  if (tokenizer === null || chat === null) {
    throw new GriffinError("unsupported", `The model "${row.options.model}" has no tokenizer or no chat tokens.`);
  }
  const moderation = moderationOf(host.env);
  const past = recall(store, row.parent, engine);
  const messages = [...past.messages, ...toldTools(row.options), ...row.messages];
  if (moderation?.input) await moderation.check(messages.map(({ content }) => content).join("\n"));
  const prompt = renderPrompt(messages, tokenizer, chat, past.lastToken);
  const unread = [...past.tokens, ...prompt];
  await host.charge.cover(unread.length + row.options.maxTokens);
  const start = isCold(past) ? await sharedStart(messages, prompt, engine, row.options, host.env) : null;
  if (start?.isNew) live.sharedTokens = start.state.position;
  const isShared = start !== null && live.sharedTokens === 0;
  const asked = start === null ? turnOf(row, store, engine, unread, past) : turnFrom(row, engine, prompt, start);
  const turn = {
    ...asked,
    isBatch: row.options.isBatch,
    isBegun: row.attempts > 1 || row.options.background,
    isLast: !row.options.store,
  };
  const log = new ReplyLog<TokenEvent>({
    store,
    turn: row,
    mark: Number.parseInt(identityOf(engine).checkpoint.slice(0, 8), 16),
    // Of a batch nobody reads before the end.
    // Should it begin anew, a shared start may be gone, and all of the prompt be read elsewhere.
    isHeld: !turn.isBatch && !engine.isRepeatable({ ...turn, tokens: unread }),
    pass: (event) => live.add(event),
  });
  const gate = outputGate<TokenEvent>(moderation, (event) => log.pass(event));

  const known = start?.state ?? past.state;
  const newTokens = start === null ? 0 : live.sharedTokens;
  const cachedTokens = (known?.position ?? 0) - newTokens;
  if (newTokens > 0) live.usage = read(newTokens);
  const promptTokens = cachedTokens + newTokens + turn.tokens.length;
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
    const computedTokens = promptTokens - cachedTokens + reply.length - 1;
    live.usage = { promptTokens, cachedTokens, completionTokens: reply.length, computedTokens };
    if (details !== undefined) logProbabilities.push(details);
    return passed;
  });
  const result = await running
    .catch((error: unknown) => {
      const isKept = isOfOrigin(error) && live.cancel.signal.aborted && reply.length > 0;
      if (!isKept) throw error;
      return lostResult(turn, engine, { promptTokens, cachedTokens: cachedTokens + newTokens, reply });
    })
    .finally(() => log.close());
  await gate.end(result.text);
  if (result.finishReason === "cancelled" && reply.length === 0) {
    const computedTokens = newTokens + result.computedTokens;
    live.usage = { ...read(computedTokens), promptTokens: cachedTokens + computedTokens, cachedTokens };
    throw new GriffinError("cancelled", "The turn was cancelled before its first token.");
  }
  const outcome = {
    status: statusOf[result.finishReason],
    text: text + result.text,
    finishReason: result.finishReason,
    state: isShared ? ("shared" as const) : past.origin,
    placement: result.placement,
    usage: {
      promptTokens,
      cachedTokens,
      completionTokens: result.completionTokens,
      computedTokens: result.computedTokens + newTokens,
    },
    promptTokens: prompt,
    replyTokens: reply,
    logProbabilities: row.options.topLogProbabilities === null ? null : logProbabilities,
    nowMs: host.now(),
  };
  const kept = { state: result.state, identity: identityOf(engine), base: past.base };
  const snapshot = row.options.store ? kept : null;
  store.commit(row.turn, outcome, snapshot, host.keepsPrefixes ? row.messages : null);
  await log.end();
  return result.text;
}

/** What there is of a turn that was cancelled in the middle of its reply, when its origin was lost with the state. */
function lostResult(
  { stop = [] }: Turn,
  { tokenizer, manifest }: PlacedEngine,
  { promptTokens, cachedTokens, reply }: { promptTokens: number; cachedTokens: number; reply: readonly number[] },
) {
  const spelling = createSpelling(tokenizer, stop, manifest.stop_token_ids);
  for (const token of reply) spelling.push(token);
  return {
    text: spelling.end(),
    finishReason: "cancelled" as const,
    placement: "origin" as const,
    completionTokens: reply.length,
    computedTokens: promptTokens - cachedTokens + reply.length - 1,
    state: { position: promptTokens + reply.length, data: null },
  };
}

/** What it costs to have read so many tokens. */
const read = (tokens: number): TurnUsage => ({
  promptTokens: tokens,
  cachedTokens: 0,
  completionTokens: 0,
  computedTokens: tokens,
});

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

function turnOf(row: TurnRow, store: Store, engine: PlacedEngine, tokens: number[], { state, base }: Past): Turn {
  const { options } = row;
  return {
    tokens,
    state,
    history: options.repetitionPenalty === 1 ? [] : recentTokens(store, base, engine, engine.config.window),
    ...limitsOf(options),
  };
}

const limitsOf = (options: TurnOptions) => ({
  maxTokens: options.maxTokens,
  stop: options.stop,
  format: formatOf(options),
  sampling: samplingOf(options),
  topLogProbabilities: options.topLogProbabilities ?? undefined,
});

/** Whether nothing was read and nothing but the turn's own messages is to be read. */
const isCold = ({ state, tokens, messages, lastToken }: Past): boolean =>
  state === undefined && tokens.length === 0 && messages.length === 0 && lastToken === null;

/** A turn whose prompt begins with what a state has read. */
function turnFrom({ options }: TurnRow, engine: PlacedEngine, prompt: number[], { state }: Start): Turn {
  const { position } = state;
  return {
    tokens: prompt.slice(position),
    state,
    history: prompt.slice(Math.max(0, position - engine.config.window), position),
    ...limitsOf(options),
  };
}

/** The options that choose tokens, as the engine takes them. */
export function samplingOf(options: TurnOptions): NonNullable<Turn["sampling"]> {
  const { temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty } = options;
  const penalties = { frequencyPenalty, presencePenalty, repetitionPenalty };
  const logitBias = new Map(options.logitBias.map(({ token, bias }) => [token, bias]));
  return { temperature, topK, topP, minP, ...penalties, logitBias, seed: BigInt(options.seed) };
}

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
