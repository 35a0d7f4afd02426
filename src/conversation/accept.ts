// Whether a request may begin a turn, and where that turn goes. Each question is asked and answered without a pause, so
// that what it found still holds when the turn is stored.
import { parseSampling } from "../engine/sampling.ts";
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import { readCall } from "../model/tool-text.ts";
import { mostReplyTokens, type TurnRequest } from "./protocol.ts";
import { samplingOf } from "./reading.ts";
import { checkFormats, mayCall } from "./turn-format.ts";
import type { Store, TurnRow, TurnStep } from "./store.ts";
import { branchHead, turnStep } from "./view.ts";

/** Says what is wrong with a request, while there is nothing to take back. Throws `invalid_argument`. */
export function checkRequest({ options }: TurnRequest, config: Config): void {
  parseSampling(samplingOf(options), config.vocabSize);
  checkFormats(options);
  const most = mostReplyTokens(options.topLogProbabilities);
  if (options.maxTokens <= most) return;
  throw invalid(`A reply has at most ${most} tokens here, asked for ${options.maxTokens}.`);
}

/** The turn that this request began when it was sent before. `isStopping`: it is about to be cancelled. */
export function repeatedTurn(
  store: Store,
  { repeatKey, repeatWithinMs, isNamed }: Pick<TurnRequest, "repeatKey" | "repeatWithinMs" | "isNamed">,
  isStopping: (turn: number) => boolean,
): number | null {
  if (repeatKey === null || repeatWithinMs <= 0) return null;
  const turn = store.turnOfRepeatKey(repeatKey);
  const step = turn === null ? null : store.step(turn);
  if (step === null || step.removed || step.status === "failed" || step.status === "cancelled") return null;
  if (isStopping(step.turn)) return null;
  if (!isNamed && step.status !== "in_progress" && !isLatest(store, step)) return null;
  return step.createdMs + repeatWithinMs >= Date.now() ? step.turn : null;
}

/** Where a turn goes. Throws `not_found`, `conversation_busy`, or `invalid_argument` where there is no state to go on from. */
export function placeOf(
  store: Store,
  { place, messages }: Pick<TurnRequest, "place" | "messages">,
): Pick<TurnRow, "parent" | "branch" | "messages"> {
  if (place.kind === "prefix") return { ...store.longestPrefix(messages), branch: null };
  if (place.kind === "after") {
    if (place.turn !== null) checkFinished(store, place.turn);
    return { parent: place.turn, branch: null, messages };
  }
  const { branch } = place;
  return { parent: checkIdle(store, branch), branch, messages };
}

/** Refuses a turn that has nothing to read: neither of its own, nor items that were put before it. */
export function checkHasMessages(store: Store, { parent, messages }: Pick<TurnRow, "parent" | "messages">): void {
  if (messages.length > 0 || (parent !== null && store.step(parent)?.kind === "items")) return;
  throw invalid("There must be at least one message.");
}

/** Refuses to delete what a running turn has read: its state would still know it. */
export function checkUnread(store: Store, turn: number): void {
  if (store.turnsFrom(turn).every(({ status }) => status !== "in_progress")) return;
  throw busy("A response that goes on from this item is in progress: wait for it, or cancel it.");
}

/** The head of a branch on which nothing runs. */
export function checkIdle(store: Store, branch: number): number | null {
  const head = branchHead(store, branch);
  if (store.runningTurn(branch) === null) return head;
  throw busy("The conversation has a response in progress: wait for it, or cancel it.");
}

/** Refuses answers to calls that were not made on the way to `parent`, blaming `answers[0]` and so on. */
export function checkAnswers(store: Store, parent: number | null, answers: readonly number[] = []): void {
  const path = new Set(parent === null || answers.length === 0 ? [] : store.keptPath(parent));
  for (const [index, turn] of answers.entries()) {
    const row = path.has(turn) ? store.turn(turn) : null;
    if (row !== null && mayCall(row.options) && readCall(row.text) !== null) continue;
    throw new GriffinError("invalid_argument", noCall, { cause: { param: `answers[${index}]` } });
  }
}

const noCall = "There is no call with this id before this response.";

/** Refuses a turn that cannot be gone on from. */
export function checkFinished(store: Store, turn: number): void {
  const { status, endPosition, kind } = turnStep(store, turn);
  if (status === "in_progress") {
    throw busy("The response to go on from is still in progress: wait for it, or cancel it.");
  }
  if (endPosition !== null || kind === "items") return;
  const ended = status === "failed" ? "failed" : "was cancelled";
  throw invalid(`The response to go on from ${ended} before it had a state. Go on from the one before it.`);
}

/** Whether nothing came after a turn, or beside it. */
function isLatest(store: Store, { turn, parent, branch }: TurnStep): boolean {
  if (branch !== null) return store.branchHead(branch) === turn && store.runningTurn(branch) === null;
  return store.children(parent).at(-1)?.turn === turn && store.children(turn).length === 0;
}

const invalid = (message: string) => new GriffinError("invalid_argument", message);
const busy = (message: string) => new GriffinError("conversation_busy", message);
