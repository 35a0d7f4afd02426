// Batch: the Durable Object of one batch. It knows which lines there are and which have their result; it does not run
// them. It reads the input once, sends stretches of it to the queue, keeps what consumers report, and writes the output
// and the error file in the end. Whatever process dies, the alarm takes the batch up where its storage says it is.
import { DurableObject } from "cloudflare:workers";
import type { DurableObjectState } from "@cloudflare/workers-types";
import { Alarm } from "../conversation/alarm.ts";
import { batchesRunAt } from "../conversation/batches-run-at.ts";
import { retentionMs } from "../conversation/retention.ts";
import { GriffinError } from "../errors.ts";
import { endEvent } from "../outbox/events.ts";
import { handOver } from "../outbox/hand-over.ts";
import { BatchStore, type StoredBatch } from "./batch-store.ts";
import type { BatchEnv, FileBucket } from "./env.ts";
import { Leases } from "./leases.ts";
import { expiredLines, malformedLines, writeFile } from "./output.ts";
import { planOf } from "./plan.ts";
import { Progress } from "./progress.ts";
import {
  mostStrikes,
  strikeWaitsMs,
  type BatchStatus,
  type BatchView,
  type LineResult,
  type NewBatch,
  type Report,
  type Work,
} from "./protocol.ts";

/**
 * Lines of a stretch that run side by side: at the edge an engine takes turns token by token, at an origin all of them go
 * on with every step. Fewer where a limit is reached.
 */
const mostLinesAtOnce = { edge: 4, origin: 8 };
const windowMs = 24 * 3_600_000;
/** A batch that is under way looks so often whether something was lost. */
const lookEveryMs = 30_000;
/** Where something failed that may pass, everything of the batch waits so long, and the line itself longer. */
const breathMs = 5_000;
/** The wait after a step that failed; it doubles, up to nine minutes. */
const againMs = 2_000;
const mostDoublings = 8;
/** A step that failed so often, which takes hours, is not tried again: what was answered is lost with it. */
const mostAttempts = 32;

const ended: ReadonlySet<BatchStatus> = new Set(["completed", "failed", "expired", "cancelled"]);

export class Batch extends DurableObject<BatchEnv> {
  readonly #alarm: Alarm;
  readonly #store: BatchStore;
  readonly #leases = new Leases();
  #progress = new Progress(0, []);
  #linesAtOnce = mostLinesAtOnce.origin;
  /** Files are being written: what comes now comes too late. */
  #isWriting = false;

  constructor(ctx: DurableObjectState, env: BatchEnv) {
    super(ctx, env);
    this.#alarm = new Alarm(ctx);
    this.#store = new BatchStore(ctx.storage);
    void ctx.blockConcurrencyWhile(async () => {
      await this.#alarm.load();
      const { batch } = this.#store;
      if (batch === undefined) return;
      if (batch.counts.total > 0 && !ended.has(batch.status)) this.#readProgress();
      if (!batch.isReleased || batch.notice !== null) this.#alarm.ringBy(Date.now());
    });
  }

  /** Begins the batch; again, it changes nothing. Throws `not_found` where there is no such input file. */
  async create(batch: NewBatch): Promise<BatchView> {
    if (this.#store.batch !== undefined) return this.view();
    const createdMs = Date.now();
    this.#store.begin({
      ...batch,
      status: "validating",
      createdMs,
      expiresMs: createdMs + windowMs,
      times: { validating: createdMs },
      counts: { total: 0, completed: 0, failed: 0 },
      faults: [],
      inputKey: null,
      endsAs: "completed",
      attempts: 0,
      notice: null,
      isReleased: false,
    });
    this.#alarm.ringBy(createdMs);
    await this.#register();
    return this.view();
  }

  view(): BatchView {
    const batch = this.#known();
    const { id, endpoint, inputFile, metadata, status, createdMs, expiresMs, times, faults } = batch;
    const { outputFile, errorFile } = batch;
    const isOver = ended.has(status);
    const counts = isOver ? batch.counts : this.#progress.counts;
    const files = isOver ? { outputFile, errorFile } : { outputFile: null, errorFile: null };
    return { id, endpoint, inputFile, metadata, status, createdMs, expiresMs, times, counts, faults, ...files };
  }

  /** No more lines begin; those that run end. Throws `invalid_argument` where the batch is over. */
  cancel(): BatchView {
    const { status } = this.#known();
    if (status === "cancelled" || status === "cancelling") return this.view();
    if (status === "finalizing" || ended.has(status)) {
      throw new GriffinError("invalid_argument", `The batch is ${status}: there is nothing to cancel.`);
    }
    this.#become("cancelling", { endsAs: "cancelled" });
    return this.view();
  }

  /** What a consumer is to do of a stretch; null where that is nothing. */
  take(stretch: number): Work | null {
    const nowMs = Date.now();
    if (this.#store.batch?.status !== "in_progress") return null;
    const lines = this.#progress.left(stretch);
    const isToWait = this.#store.waiting(nowMs).some(({ line }) => lines.includes(line));
    if (isToWait || this.#leases.pausedUntilMs(nowMs) > 0) {
      // Whoever runs it all the same has not ended yet.
      if (this.#leases.firstLine(stretch) === null) this.#leases.drop(stretch);
      return null;
    }
    const givenUp: number[] = [];
    let strikes = 0;
    for (const line of lines) {
      strikes = this.#store.strikes(line);
      if (strikes < mostStrikes) break;
      givenUp.push(line);
    }
    const rest = lines.slice(givenUp.length);
    const first = rest[0] ?? givenUp[0];
    if (first === undefined || !this.#leases.take(stretch, first, nowMs)) return null;
    // Should whoever runs it die, this line is the first to be blamed.
    if (rest.length > 0) this.#store.setStrikes(first, strikes + 1);
    return this.#work(stretch, rest, givenUp, strikes > 0);
  }

  /** The queue has given a message up: it is sent again. Which lines are given up is said by their strikes. */
  lost(stretch: number): void {
    const nowMs = Date.now();
    if (this.#store.batch?.status !== "in_progress" || this.#leases.firstLine(stretch) !== null) return;
    this.#leases.drop(stretch);
    this.#alarm.ringBy(nowMs + breathMs);
  }

  /** Keeps what a consumer tells of a stretch; false where it is to begin no more lines. */
  report(stretch: number, { results, failed, pauseMs, isLast }: Report): boolean {
    const nowMs = Date.now();
    const { status } = this.#known();
    if (this.#isWriting || ended.has(status)) return false;
    const taken = this.#leases.firstLine(stretch);
    this.#atomically(() => {
      const lost = failed.filter(({ line }) => this.#strike(line, line !== taken, nowMs));
      this.#keep([...results, ...lost]);
      // A limit that is reached is nobody's fault.
      const isHeldUp =
        pauseMs !== null &&
        taken !== null &&
        !this.#progress.isDone(taken) &&
        !failed.some(({ line }) => line === taken);
      if (isHeldUp) this.#store.setStrikes(taken, Math.max(0, this.#store.strikes(taken) - 1));
    });
    if (pauseMs !== null) {
      this.#leases.pause(nowMs + pauseMs);
      this.#linesAtOnce = Math.ceil(this.#linesAtOnce / 2);
    } else if (isLast) this.#linesAtOnce += 1;
    if (isLast) this.#leases.drop(stretch);
    else this.#leases.renew(stretch, this.#progress.left(stretch)[0] ?? null, nowMs);

    if (this.#progress.isWhole && status === "in_progress") this.#become("finalizing", { endsAs: "completed" });
    else if (isLast) this.#goOn(nowMs);
    return status === "in_progress" && this.#leases.pausedUntilMs(nowMs) === 0;
  }

  override async alarm(): Promise<void> {
    this.#alarm.isGone();
    const { batch } = this.#store;
    if (batch === undefined) return;
    try {
      await this.#step(batch);
    } catch (error) {
      this.#stumble(error);
    }
  }

  /** Does what the batch's status asks for, and says when to look again. */
  async #step({ status, expiresMs }: StoredBatch): Promise<void> {
    const nowMs = Date.now();
    if (ended.has(status)) return this.#leave(nowMs);
    if (status === "in_progress" && expiresMs <= nowMs) return this.#become("finalizing", { endsAs: "expired" });
    if (status === "in_progress") return this.#send(nowMs);
    // Lines that run end first.
    if (this.#leases.isBusy(nowMs)) return this.#alarm.ringBy(nowMs + againMs);
    if (!this.#attempt()) return this.#fail("io_failed", "The files of the batch could not be read or written.");
    return status === "validating" ? this.#validate() : this.#finalize();
  }

  /** A step failed, and is taken again later. */
  #stumble(error: unknown): void {
    const name = error instanceof Error ? error.name : "unknown";
    console.error(JSON.stringify({ event: "batch_step_failed", object: this.ctx.id.toString(), error_name: name }));
    const { batch } = this.#store;
    if (batch !== undefined) this.#alarm.ringBy(Date.now() + againMs * 2 ** Math.min(batch.attempts, mostDoublings));
  }

  /** Counts an attempt at a step before it is made, for the process may die of it; false where there were enough. */
  #attempt(): boolean {
    const batch = this.#known();
    if (batch.attempts >= mostAttempts) return false;
    this.#store.batch = { ...batch, attempts: batch.attempts + 1 };
    return true;
  }

  /** Tells the registry of the batch, and learns where its input is. Throws `not_found`: then there is no batch. */
  async #register(): Promise<void> {
    const batch = this.#known();
    if (batch.inputKey !== null) return;
    try {
      const { key } = await this.#registry(batch).addBatch(batch.id, batch.inputFile);
      this.#store.batch = { ...this.#known(), inputKey: key };
    } catch (error) {
      const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
      if (code !== "not_found") throw error;
      await this.ctx.storage.deleteAll();
      this.#alarm.isGone();
      throw new GriffinError("not_found", "There is no file with this id.");
    }
  }

  async #validate(): Promise<void> {
    await this.#register();
    const { id, endpoint, inputKey, status } = this.#known();
    if (status !== "validating") return;
    const file = await this.#bucket.get(inputKey ?? "");
    const plan = file === null ? null : await planOf(file.body, endpoint);
    // It may have been cancelled in the meantime.
    if (this.#known().status !== "validating") return;
    if (plan === null) return this.#fail("file_not_found", "The input file is not there any more.");
    if ("code" in plan) return this.#fail(plan.code, plan.message);
    const { total, stretches, malformed } = plan;
    this.#store.transaction(() => {
      this.#store.stretches = stretches;
      for (const results of malformedLines(id, malformed)) this.#store.insertResults("errors", results);
      const counts = { total, completed: 0, failed: malformed.length };
      this.#become(stretches.length === 0 ? "finalizing" : "in_progress", { counts });
    });
    this.#readProgress();
  }

  /** Sees to what comes next without an alarm, which would be a row for every stretch. */
  #goOn(nowMs: number): void {
    if (this.#known().status !== "in_progress") return this.#alarm.ringBy(nowMs);
    this.ctx.waitUntil(this.#send(nowMs).catch((error: unknown) => this.#stumble(error)));
  }

  /** Sends what is neither done, nor on its way, nor to wait. */
  async #send(nowMs: number): Promise<void> {
    const { name, expiresMs } = this.#known();
    const waiting = this.#store.waiting(nowMs);
    const waits = new Set(waiting.map(({ line }) => this.#progress.stretchOf(line)));
    const stretches = this.#leases.send(this.#progress.unfinished(waits), nowMs);
    const waitMs = waiting.map(({ again_ms: ms }) => ms);
    const lookMs = this.#leases.pausedUntilMs(nowMs) || Math.min(nowMs + lookEveryMs, ...waitMs);
    this.#alarm.ringBy(Math.min(lookMs, expiresMs));
    if (stretches.length === 0) return;
    try {
      await this.#queue.sendBatch(stretches.map((stretch) => ({ body: { batch: name, stretch } })));
    } catch (error) {
      for (const stretch of stretches) this.#leases.drop(stretch);
      throw error;
    }
  }

  /** Writes the files. It may be done again from its beginning at any time. */
  async #finalize(): Promise<void> {
    const batch = this.#known();
    const { counts } = this.#progress;
    const isDone = (line: number) => this.#progress.isDone(line);
    const failed = batch.endsAs === "expired" ? counts.total - counts.completed : counts.failed;
    const outputFile = counts.completed > 0 ? batch.outputFile : null;
    const errorFile = failed > 0 ? batch.errorFile : null;
    const place = { bucket: this.#bucket, registry: this.#registry(batch), keepMs: this.#keepMs(batch) };
    this.#isWriting = true;
    try {
      if (outputFile !== null) await writeFile(place, batch, outputFile, "output", this.#store.resultBytes("output"));
      if (errorFile !== null) {
        const expired = batch.endsAs === "expired" ? expiredLines(place.bucket, batch, isDone) : [];
        const errors = this.#store.resultBytes("errors");
        await writeFile(place, batch, errorFile, "error", errors, expired);
      }
      this.#end(batch.endsAs, { outputFile, errorFile, counts: { ...counts, failed } });
    } finally {
      this.#isWriting = false;
    }
  }

  /** The batch is over: its input is free to go, its end is told, and it goes when it was kept long enough. */
  async #leave(nowMs: number): Promise<void> {
    const batch = this.#known();
    // Counted for the waits alone: it is tried until it is done.
    if (!batch.isReleased || batch.notice !== null) this.#store.batch = { ...batch, attempts: batch.attempts + 1 };
    if (!batch.isReleased) {
      await this.#registry(batch).endBatch(batch.id);
      this.#store.batch = { ...this.#known(), isReleased: true, attempts: 0 };
    }
    if (batch.notice !== null) {
      await handOver(batch.notice, this.env);
      this.#store.batch = { ...this.#known(), notice: null };
    }
    const goesMs = Math.max(...Object.values(batch.times)) + retentionMs(this.env);
    if (goesMs > nowMs) return void (Number.isFinite(goesMs) && this.#alarm.ringBy(goesMs));
    await this.#registry(batch).removeBatch(batch.id);
    await this.ctx.storage.deleteAll();
  }

  #fail(code: string, message: string): void {
    const { counts } = this.#progress;
    const faults = [{ code, message, param: null, line: null }];
    this.#end("failed", { faults, counts, outputFile: null, errorFile: null });
  }

  /**
   * The one place where a batch ends. Its status, and all that others are to learn of it, are written together or not at
   * all; the results, which are in its files now, go.
   */
  #end(status: "completed" | "failed" | "expired" | "cancelled", change: Partial<StoredBatch>): void {
    const { id, notify } = this.#known();
    const notice = { ...notify, event: endEvent(`batch.${status}`, id, Date.now()) };
    this.#store.transaction(() => {
      this.#become(status, { ...change, notice });
      this.#store.deleteResults();
    });
    this.#progress = new Progress(0, []);
    const { createdMs, counts } = this.#known();
    const fields = { object: this.ctx.id.toString(), batch_status: status, ...counts, ms: Date.now() - createdMs };
    console.log(JSON.stringify({ event: "batch", ...fields }));
  }

  #become(status: BatchStatus, change: Partial<StoredBatch>): void {
    const nowMs = Date.now();
    const batch = this.#known();
    const times = { ...batch.times, [status]: nowMs };
    this.#store.batch = { ...batch, ...change, status, times, attempts: 0 };
    this.#alarm.ringBy(nowMs);
  }

  /** All or nothing is written, and what is known of it in memory is what is written. */
  #atomically(run: () => void): void {
    try {
      this.#store.transaction(run);
    } catch (error) {
      this.#readProgress();
      throw error;
    }
  }

  /** Keeps results of lines that have none. */
  #keep(results: readonly LineResult[]): void {
    for (const kind of ["output", "errors"] as const) {
      const kept: LineResult[] = [];
      for (const result of results) {
        if (result.kind !== kind || this.#progress.isDone(result.line)) continue;
        this.#progress.settle(result.line, kind);
        kept.push(result);
      }
      if (kept.length > 0) this.#store.insertResults(kind, kept);
    }
  }

  /** A line failed, and may be tried again after a while; true where it was tried often enough. */
  #strike(line: number, isCounted: boolean, nowMs: number): boolean {
    const strikes = this.#store.strikes(line) + (isCounted ? 1 : 0);
    const waitMs = strikeWaitsMs[strikes - 1];
    if (waitMs === undefined) return true;
    this.#store.setStrikes(line, strikes, nowMs + waitMs);
    this.#leases.pause(nowMs + breathMs);
    return false;
  }

  #work(stretch: number, lines: number[], givenUp: number[], oneByOne: boolean): Work | null {
    const { id, endpoint, inputKey, tenant, key } = this.#known();
    const place = this.#progress.stretches[stretch];
    if (place === undefined || inputKey === null) return null;
    const { firstLine, offset, length } = place;
    const linesAtOnce = Math.min(this.#linesAtOnce, mostLinesAtOnce[batchesRunAt(this.env)]);
    this.#linesAtOnce = linesAtOnce;
    return { linesAtOnce, id, endpoint, inputKey, tenant, key, firstLine, offset, length, lines, givenUp, oneByOne };
  }

  #readProgress(): void {
    this.#progress = new Progress(this.#known().counts.total, this.#store.stretches);
    for (const { kind, lines } of this.#store.settledLines())
      for (const line of lines) this.#progress.settle(line, kind);
  }

  /** How long its files are kept. */
  #keepMs({ outputExpiresAfterS: seconds }: StoredBatch): number {
    return Math.min(retentionMs(this.env), seconds === null ? Infinity : seconds * 1000);
  }

  #known(): StoredBatch {
    const { batch } = this.#store;
    if (batch === undefined) throw new GriffinError("not_found", "There is no batch with this id.");
    return batch;
  }

  #registry({ registry }: Pick<NewBatch, "registry">) {
    const { BATCH_REGISTRIES: registries } = this.env;
    return registries.get(registries.idFromName(registry));
  }

  get #bucket(): FileBucket {
    if (this.env.FILES === undefined) throw new GriffinError("unsupported", "FILES (R2) is not bound.");
    return this.env.FILES;
  }

  get #queue() {
    if (this.env.BATCH_QUEUE === undefined) throw new GriffinError("unsupported", "BATCH_QUEUE (Queues) is not bound.");
    return this.env.BATCH_QUEUE;
  }
}
