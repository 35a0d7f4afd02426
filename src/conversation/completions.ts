// Completions: replies to raw prompts, without a chat template. Nothing is kept. Every prompt is read once, whatever is
// told of it and however many replies it has: up to its last token, which each reply then reads by itself.
import type { PlacedEngine } from "../engine/placed.ts";
import { reportToken, type TokenReport } from "../engine/log-probabilities.ts";
import { together, type RanAt } from "../engine/placement.ts";
import { readAll } from "../engine/read-all.ts";
import { parseSampling } from "../engine/sampling.ts";
import { GriffinError } from "../errors.ts";
import type { State } from "../model/state.ts";
import { checkTokens } from "../model/tokens.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import {
  mostChoices,
  mostCompletionTokens,
  mostLogProbabilities,
  mostRepliesAPrompt,
  type CompletionEvent,
  type CompletionRequest,
  type CompletionUsage,
  type PlacedToken,
} from "./completion-protocol.ts";
import { RunningCharge } from "./charges.ts";
import { engineOf } from "./engines.ts";
import type { Env } from "./env.ts";
import { eventLines } from "./event-lines.ts";
import { EventQueue } from "./event-queue.ts";
import { moderationOf, outputGate, type Moderation } from "./moderation.ts";
import { Placing } from "./placed-tokens.ts";
import { samplingOf } from "./reading.ts";
import { publicError } from "./run-turn.ts";
import { blamed } from "./blame.ts";
import { encodeRaw, tokenizerOf } from "./tokens.ts";
import { checkFormats, formatOf } from "./turn-format.ts";

/** Turns of one request that run side by side: others wait for all of them. */
const mostAtOnce = 4;

interface Work {
  engine: PlacedEngine;
  tokenizer: Tokenizer;
  request: CompletionRequest;
  /** Of every prompt. */
  prompts: readonly (readonly number[])[];
  usage: CompletionUsage;
  moderation: Moderation | null;
  /** Names of tokens, as far as they were needed. */
  names: Map<number, string>;
  add(event: CompletionEvent): void;
  signal: AbortSignal;
}

/**
 * Begins a completion: its events as NDJSON, and a promise of its end, which never fails. It ends early when the reader
 * of the events goes away. Throws, before any event, what is wrong with the request.
 */
export async function beginCompletion(request: CompletionRequest, env: Env, object: string) {
  const startMs = Date.now();
  const engine = await engineOf(request.options.model, env);
  const { format, topLogProbabilities } = request.options;
  engine.checkThere({ hasFormat: format !== null, isScored: request.echo && topLogProbabilities !== null });
  const tokenizer = tokenizerOf(engine, request.options.model);
  parseSampling(samplingOf(request.options), engine.config.vocabSize);
  checkFormats(request.options);
  const prompts = request.prompts.map((prompt, index) => promptTokens(prompt, index, engine, tokenizer));
  checkSizes(request, prompts);

  const charge = new RunningCharge(request.options.chargedTo, env);
  const queue = new EventQueue<CompletionEvent>();
  const cancel = new AbortController();
  const promptCount = prompts.reduce((sum, { length }) => sum + length, 0);
  const usage: CompletionUsage = { promptTokens: promptCount, completionTokens: 0, computedTokens: 0, placement: null };
  const add = (event: CompletionEvent) => queue.add(event);
  const shared = { engine, tokenizer, request, prompts, usage, moderation: moderationOf(env) };
  const work: Work = { ...shared, names: new Map(), add, signal: cancel.signal };
  const finish = (event: CompletionEvent) => {
    queue.add(event);
    queue.end();
    // Whoever goes away in the middle has had what came until then.
    const isCharged = usage.computedTokens + usage.completionTokens > 0;
    const readTokens = event.type === "done" ? promptCount : Math.min(promptCount, usage.computedTokens);
    void charge.settle(isCharged ? { ...usage, promptTokens: readTokens, cachedTokens: 0 } : null);
    console.log(completionLine(object, work, event, Date.now() - startMs));
  };
  const done = completeAll(work).then(
    () => finish({ type: "done", usage }),
    (error: unknown) => {
      cancel.abort();
      finish({ type: "failed", ...publicError(error) });
    },
  );
  const events = eventLines({ next: () => queue.next(), abandon: () => cancel.abort() });
  return { events, done };
}

function promptTokens(prompt: string | number[], index: number, engine: PlacedEngine, tokenizer: Tokenizer) {
  if (typeof prompt === "string") return encodeRaw(prompt, engine, tokenizer);
  const param = `prompt[${index}]`;
  blamed(param, () => checkTokens(param, prompt, engine.config.vocabSize));
  if (prompt.length === 0) throw invalid(`${param}: expected at least one token.`, param);
  return prompt;
}

/** Refuses what would not fit into memory when it is whole. */
function checkSizes({ n, echo, options }: CompletionRequest, prompts: Work["prompts"]): void {
  const { maxTokens, topLogProbabilities: top } = options;
  const choices = prompts.length * n;
  if (prompts.length === 0 || n < 1 || n > mostRepliesAPrompt || choices > mostChoices) {
    throw invalid(
      `A request has 1 to ${mostChoices} choices, at most ${mostRepliesAPrompt} a prompt; this one has ${prompts.length} prompts with ${n} each.`,
      "prompt",
    );
  }
  if (choices * maxTokens > mostCompletionTokens) {
    throw invalid(
      `max_tokens: the choices of a request have at most ${mostCompletionTokens} tokens together, here ${choices} × ${maxTokens}.`,
      "max_tokens",
    );
  }
  if (top === null) return;
  const echoed = echo ? n * prompts.reduce((sum, { length }) => sum + length, 0) : 0;
  const reported = (echoed + choices * maxTokens) * (1 + top);
  if (reported > mostLogProbabilities) {
    throw invalid(
      `logprobs: a request has at most ${mostLogProbabilities} log-probabilities, here ${reported}: send fewer prompts at once.`,
      "logprobs",
    );
  }
}

async function completeAll(work: Work): Promise<void> {
  const { engine, tokenizer, prompts, request, moderation } = work;
  const { n } = request;
  if (moderation?.input) {
    await moderation.check(prompts.map((tokens) => tokenizer.decode(tokens)).join("\n"));
  }
  const atOnce = Math.min(mostAtOnce, Math.ceil(engine.slots / 2));
  await sideBySide(prompts, Math.max(Math.floor(atOnce / n), 1), async (tokens, index) => {
    const choices = Array.from({ length: n }, (_, k) => index * n + k);
    const { offset, state } = await readPrompt(work, tokens, choices);
    await sideBySide(choices, atOnce, (choice, k) => reply(work, { tokens, state, offset, choice, k }));
  });
}

/** The state before the prompt's last token, none where that is its only one, and the characters that were echoed. */
async function readPrompt(
  work: Work,
  tokens: readonly number[],
  choices: number[],
): Promise<{ state: State | undefined; offset: number }> {
  const { engine, tokenizer, request, signal, usage, add } = work;
  const { echo, options } = request;
  if (echo && options.topLogProbabilities !== null) return scorePrompt(work, tokens, choices);
  if (echo) add({ type: "piece", choices, text: tokenizer.decode(tokens), tokens: null });
  if (tokens.length === 1 || options.maxTokens === 0) return { state: undefined, offset: 0 };
  const head = { tokens: tokens.slice(0, -1), maxTokens: 0, isBatch: options.isBatch };
  const { state, computedTokens, placement } = await readAll(engine.generate(head, signal), () => undefined);
  count(usage, computedTokens, placement);
  if (signal.aborted) throw new GriffinError("cancelled", "The completion was cancelled.");
  return { state, offset: 0 };
}

/** The same, telling of every token. What stands at a place is a matter of the logits before it. */
async function scorePrompt(
  { engine, tokenizer, request, usage, names, signal, add }: Work,
  tokens: readonly number[],
  choices: number[],
) {
  const { vocabSize } = engine.config;
  const top = request.options.topLogProbabilities ?? 0;
  const placing = new Placing(tokenizer, names);
  const tell = (stretch: readonly (readonly [token: number, report: TokenReport | null])[]) => {
    const pieces = stretch.map(([token, report]) => placing.place(token, report));
    const placed = pieces.map((piece): PlacedToken => piece.placed);
    add({ type: "piece", choices, text: pieces.map(({ text }) => text).join(""), tokens: placed });
  };
  const [first = 0, ...rest] = tokens;
  tell([[first, null]]);
  let state: State | undefined;
  if (rest.length > 0) {
    const rows = engine.score(tokens.slice(0, -1), { signal });
    let next = await rows.next();
    for (let told = 0; !next.done; next = await rows.next()) {
      const logits = next.value;
      const stretch = rest.slice(told, told + logits.length / vocabSize);
      const rowOf = (row: number) => logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      tell(stretch.map((token, row) => [token, reportToken(rowOf(row), token, top)] as const));
      told += stretch.length;
      count(usage, stretch.length, "edge");
    }
    state = next.value;
  }
  const text = placing.end();
  if (text !== "") add({ type: "piece", choices, text, tokens: [] });
  return { state, offset: placing.offset };
}

interface Choice {
  tokens: readonly number[];
  state: State | undefined;
  offset: number;
  choice: number;
  /** Which reply to its prompt. */
  k: number;
}

async function reply(work: Work, { tokens, state, offset, choice, k }: Choice): Promise<void> {
  const { engine, tokenizer, request, usage, moderation, names, signal, add } = work;
  const { options } = request;
  if (options.maxTokens === 0) return add({ type: "ended", choice, rest: "", finishReason: "length" });
  const placing = new Placing(tokenizer, names, offset);
  const turn = {
    tokens: tokens.slice(-1),
    state,
    history: tokens.slice(0, -1).slice(-Math.max(engine.config.window, 1)),
    maxTokens: options.maxTokens,
    stop: options.stop,
    format: formatOf(options),
    sampling: { ...samplingOf(options), seed: BigInt.asUintN(64, BigInt(options.seed) + BigInt(k)) },
    topLogProbabilities: options.topLogProbabilities ?? undefined,
    isBatch: options.isBatch,
    isLast: true,
  };
  const gate = outputGate<CompletionEvent & { type: "piece" }>(moderation, add);
  const result = await readAll(engine.generate(turn, signal), ({ token, text, logProbability, top = [] }) => {
    usage.completionTokens += 1;
    const placed = logProbability === undefined ? null : [placing.place(token, { logProbability, top }).placed];
    if (text === "" && placed === null) return undefined;
    return gate.add({ type: "piece", choices: [choice], text, tokens: placed });
  });
  await gate.end(result.text);
  count(usage, result.computedTokens, result.placement);
  if (result.finishReason === "cancelled") throw new GriffinError("cancelled", "The completion was cancelled.");
  add({ type: "ended", choice, rest: result.text, finishReason: result.finishReason });
}

function count(usage: CompletionUsage, computedTokens: number, placement: RanAt): void {
  usage.computedTokens += computedTokens;
  usage.placement = together([usage.placement ?? placement, placement]);
}

/** Runs `run` on every item, in order, on at most `most` at once. */
async function sideBySide<T>(
  items: readonly T[],
  most: number,
  run: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const entries = items.entries();
  const takeTurns = async () => {
    for (const [index, item] of entries) await run(item, index);
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, takeTurns));
}

/** One line of JSON for the log: ids, counts, milliseconds. Nothing anybody said. */
function completionLine(object: string, { request, prompts, usage }: Work, event: CompletionEvent, ms: number): string {
  return JSON.stringify({
    event: "completion",
    object,
    model: request.options.model,
    completion_status: event.type,
    error_code: event.type === "failed" ? event.code : undefined,
    choices: prompts.length * request.n,
    prompt_tokens: usage.promptTokens,
    computed_tokens: usage.computedTokens,
    completion_tokens: usage.completionTokens,
    ms,
  });
}

const invalid = (message: string, param: string) => new GriffinError("invalid_argument", message, { cause: { param } });
