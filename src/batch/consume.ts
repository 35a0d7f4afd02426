// The consumer of the queue: runs lines as requests, some at once, and tells their batch what came of them. It decides
// nothing that has to last: a message that comes twice, or a process that dies here, costs work and no result.
import type { BatchEnv, FileBucket } from "./env.ts";
import { GriffinError } from "../errors.ts";
import { speakEveryMs } from "./leases.ts";
import { linesOf, requestOf, type Line } from "./lines.ts";
import type { BatchMessage, LineResult, Work } from "./protocol.ts";
import { answeredLine, failedLine, type LineAnswer } from "./results.ts";

/** A consumer is stopped after a quarter of an hour: nothing new begins so long after it started, */
const mostRunMs = 8 * 60_000;
/** and no line has longer than this. */
const mostLineMs = 5 * 60_000;
/** Results are kept when a stretch is over; of slow models, so often. */
const keepEveryMs = 5_000;
/** Reports are cut there: an RPC takes 32 MiB. */
const mostReportCharacters = 4 * 2 ** 20;
const againSeconds = 30;
/** How long a batch waits for a conversation that is busy. */
const busyMs = 2_000;
/** And so long for its input. */
const unreadableMs = 30_000;

/** A request of a line. */
export interface LineCall {
  url: string;
  body: string;
  tenant: string;
  key: number | null;
  /** Names the request: run again, it is the same one. */
  name: string;
  signal: AbortSignal;
}

/** What it was answered, and whether it may come again. */
export interface LineReply extends LineAnswer {
  /** It may be answered otherwise later. */
  isPassing: boolean;
  /** What it needs is taken at the moment: when to come again. null where nothing is said of that. */
  retryAfterMs: number | null;
}

export type RunLine = (call: LineCall) => Promise<LineReply>;

interface Message {
  body: unknown;
  ack(): void;
  retry(options: { delaySeconds: number }): void;
}

/** Takes messages of the queue, or of the one that dead ones go to. */
export async function consume(
  { queue, messages }: { queue: string; messages: readonly Message[] },
  env: BatchEnv,
  run: RunLine,
): Promise<void> {
  const isDead = queue.endsWith("-dead");
  await Promise.all(
    messages.map(async (message) => {
      try {
        await runStretch(message.body as BatchMessage, isDead, env, run);
        message.ack();
      } catch (error) {
        logged(error);
        message.retry({ delaySeconds: againSeconds });
      }
    }),
  );
}

function logged(error: unknown): null {
  const name = error instanceof Error ? error.name : "unknown";
  console.error(JSON.stringify({ event: "batch_lines_failed", error_name: name }));
  return null;
}

async function runStretch(
  { batch, stretch }: BatchMessage,
  isDead: boolean,
  env: BatchEnv,
  run: RunLine,
): Promise<void> {
  const stub = env.BATCHES.get(env.BATCHES.idFromName(batch));
  if (isDead) return stub.lost(stretch);
  const work = await stub.take(stretch);
  if (work === null) return;
  const reports = new Reports((report) => stub.report(stretch, report));
  const lines = await readLines(env.FILES, work).catch(logged);
  if (lines === null) {
    reports.pause(unreadableMs);
    return reports.send(true);
  }
  for (const number of work.givenUp) reports.add(givenUp(work, number, lines.get(number)));

  const startMs = Date.now();
  const left = work.lines.values();
  const lane = async (): Promise<void> => {
    for (const number of left) {
      if (!reports.mayGoOn || Date.now() - startMs > mostRunMs) return;
      const line = lines.get(number);
      if (line === undefined) throw new GriffinError("internal", `The input has no line ${number}.`);
      const outcome = await runLine(work, number, line, run);
      if ("pauseMs" in outcome) reports.pause(outcome.pauseMs);
      else if (outcome.isPassing) reports.addFailed(outcome.result);
      else reports.add(outcome.result);
      if (work.oneByOne) await reports.send(false);
    }
  };
  const timer = setInterval(() => void reports.speak(), keepEveryMs);
  try {
    await Promise.all(Array.from({ length: work.oneByOne ? 1 : work.linesAtOnce }, lane));
  } finally {
    clearInterval(timer);
  }
  await reports.send(true);
}

type Outcome = { result: LineResult; isPassing: boolean } | { pauseMs: number };

async function runLine(work: Work, number: number, line: Line, run: RunLine): Promise<Outcome> {
  const { id, endpoint, tenant, key } = work;
  const request = requestOf(line, endpoint);
  if (request.fault !== null) {
    return { result: failedLine(id, number, request.customId, request.fault), isPassing: false };
  }
  const { customId, body } = request;
  const name = `${id} ${number}`;
  const signal = AbortSignal.timeout(mostLineMs);
  try {
    const reply = await run({ url: endpoint, body: JSON.stringify(body), tenant, key, name, signal });
    if (reply.retryAfterMs !== null) return { pauseMs: reply.retryAfterMs };
    if (reply.status === 409 && reply.isPassing) return { pauseMs: busyMs };
    signal.throwIfAborted();
    return { result: answeredLine(id, number, customId, reply), isPassing: reply.isPassing };
  } catch {
    const code = signal.aborted ? "timeout" : "internal";
    const message = signal.aborted ? "The reply took too long." : "The server failed to answer this request.";
    return { result: failedLine(id, number, customId, { code, message }), isPassing: true };
  }
}

function givenUp({ id, endpoint }: Work, number: number, line: Line | undefined): LineResult {
  const customId = line === undefined ? null : requestOf(line, endpoint).customId;
  const message = "This request was begun several times, and never came to an end.";
  return failedLine(id, number, customId, { code: "given_up", message });
}

/** The lines of a stretch, by their numbers. */
async function readLines(bucket: FileBucket | undefined, work: Work): Promise<Map<number, Line>> {
  const { inputKey, offset, length, firstLine } = work;
  const file = await bucket?.get(inputKey, { range: { offset, length } });
  if (!file) throw new GriffinError("io_failed", "The input file cannot be read.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  return new Map([...linesOf(bytes, offset)].map((line, i) => [firstLine + i, line]));
}

interface Pending {
  results: LineResult[];
  failed: LineResult[];
  pauseMs: number | null;
}

const nothing = (): Pending => ({ results: [], failed: [], pauseMs: null });

/** Tells results, one report after another. */
class Reports {
  readonly #tell: (report: Pending & { isLast: boolean }) => Promise<boolean>;
  #pending = nothing();
  #characters = 0;
  #spokenMs = Date.now();
  #last: Promise<void> = Promise.resolve();
  #mayGoOn = true;

  constructor(tell: (report: Pending & { isLast: boolean }) => Promise<boolean>) {
    this.#tell = tell;
  }

  /** Whether the batch takes more. */
  get mayGoOn(): boolean {
    return this.#mayGoOn;
  }

  add(result: LineResult): void {
    this.#pending.results.push(result);
    this.#characters += result.text.length;
    if (this.#characters > mostReportCharacters) void this.send(false).catch(() => undefined);
  }

  addFailed(result: LineResult): void {
    this.#pending.failed.push(result);
    this.#mayGoOn = false;
  }

  /** A limit is reached. */
  pause(pauseMs: number): void {
    this.#pending.pauseMs = Math.max(pauseMs, this.#pending.pauseMs ?? 0);
    this.#mayGoOn = false;
  }

  /** Keeps what there is, or says that work goes on. */
  async speak(): Promise<void> {
    const isSilent = Date.now() - this.#spokenMs >= speakEveryMs;
    if (this.#characters > 0 || isSilent) await this.send(false).catch(() => undefined);
  }

  /** Tells all that there is. Throws where the batch cannot be reached; then nothing more is told. */
  send(isLast: boolean): Promise<void> {
    this.#last = this.#last.then(async () => {
      const report = { ...this.#pending, isLast };
      this.#pending = nothing();
      this.#characters = 0;
      this.#spokenMs = Date.now();
      try {
        if (!(await this.#tell(report))) this.#mayGoOn = false;
      } catch (error) {
        this.#mayGoOn = false;
        throw error;
      }
    });
    return this.#last;
  }
}
