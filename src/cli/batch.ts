// griffin batch: many requests from a file, over a server's API. The key comes from GRIFFIN_API_KEY, never from an option:
// other users of a machine see those. An open server needs none.
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Presets, SingleBar } from "cli-progress";
import { GriffinError } from "../errors.ts";
import { createFile, readBytes } from "./files.ts";
import { print, send, type ServerOptions } from "./remote.ts";

/** A watched batch is asked about this often at first, and ever more seldom. */
const watchFirstMs = 500;
const watchSlower = 1.2;
const watchMostMs = 5_000;

interface Batch {
  id: string;
  status: string;
  request_counts: { total: number; completed: number; failed: number };
  output_file_id?: string;
  error_file_id?: string;
  errors?: { data: { message: string }[] };
}

const ended: ReadonlySet<string> = new Set(["completed", "failed", "expired", "cancelled"]);

/** Uploads a file of requests and has them run; prints the batch's id, or watches it to its end. */
export async function submitBatch(
  path: string,
  options: ServerOptions & { endpoint: string; watch?: boolean },
): Promise<void> {
  const form = new FormData();
  form.set("purpose", "batch");
  form.set("file", new Blob([await readBytes(path)]), basename(path));
  const { id: input_file_id } = await ask<{ id: string }>(options, "/files", { method: "POST", body: form });
  const wanted = { input_file_id, endpoint: options.endpoint, completion_window: "24h" };
  const headers = { "content-type": "application/json" };
  const batch = await ask<Batch>(options, "/batches", { method: "POST", body: JSON.stringify(wanted), headers });
  if (options.watch) return batchStatus(batch.id, options);
  print(batch, options, ({ id }) => id);
}

/** Prints how far a batch is, or shows it until it is over. */
export async function batchStatus(id: string, options: ServerOptions & { watch?: boolean }): Promise<void> {
  let batch = await retrieve(id, options);
  if (options.watch) {
    const bar = new SingleBar(
      { format: "{bar} {percentage}%  {value}/{total}  {failed} failed  {status}", clearOnComplete: true },
      Presets.shades_classic,
    );
    try {
      bar.start(1, 0, { failed: 0, status: batch.status });
      for (let waitMs = watchFirstMs; !ended.has(batch.status); waitMs = Math.min(waitMs * watchSlower, watchMostMs)) {
        const { total, completed, failed } = batch.request_counts;
        // Until the file was read nobody knows how many lines there are.
        bar.setTotal(total || 1);
        bar.update(completed + failed, { failed, status: batch.status });
        await sleep(waitMs);
        batch = await retrieve(id, options);
      }
    } finally {
      bar.stop();
    }
  }
  print(batch, options, lineOf);
  failUnlessGood(batch);
}

/** Has no more lines begin; those that run end. */
export async function cancelBatch(id: string, options: ServerOptions): Promise<void> {
  print(await ask<Batch>(options, `${of(id)}/cancel`, { method: "POST" }), options, lineOf);
}

/** Writes what the lines of a batch were answered, and then its errors, to a file or to standard output. */
export async function batchResults(id: string, options: ServerOptions & { out?: string }): Promise<void> {
  const batch = await retrieve(id, options);
  if (!ended.has(batch.status)) {
    throw new GriffinError("invalid_argument", `The batch is ${batch.status}: its results are there when it is over.`);
  }
  const file = options.out === undefined ? null : await createFile(options.out);
  try {
    for (const each of [batch.output_file_id, batch.error_file_id]) {
      if (each === undefined) continue;
      const { body } = await request(options, `/files/${each}/content`);
      for await (const bytes of body ?? []) await (file?.write(bytes) ?? written(bytes));
    }
  } finally {
    await file?.close();
  }
  console.error(lineOf(batch));
  failUnlessGood(batch);
}

const of = (id: string) => `/batches/${encodeURIComponent(id)}`;
const retrieve = (id: string, options: ServerOptions) => ask<Batch>(options, of(id));

/** The program fails where a batch is over and did not complete, or where not one of its lines was answered well. */
function failUnlessGood({ status, request_counts: { completed } }: Batch): void {
  const isGood = status === "completed" && completed > 0;
  if (ended.has(status) && !isGood) process.exitCode = 1;
}

/** Resolves when standard output takes more. */
const written = (bytes: Uint8Array) =>
  new Promise<void>((resolve) => void process.stdout.write(bytes, () => resolve()));

function lineOf({ id, status, request_counts: { total, completed, failed }, errors }: Batch): string {
  const why = errors?.data.map(({ message }) => `  ${message}`).join("") ?? "";
  return `${id}  ${status}  ${completed + failed} of ${total} lines done, ${failed} of them failed${why}`;
}

async function ask<T>(options: ServerOptions, path: string, init?: RequestInit): Promise<T> {
  return (await (await request(options, path, init)).json()) as T;
}

const request = (options: ServerOptions, path: string, init?: RequestInit) =>
  send(options, "GRIFFIN_API_KEY", `/v1${path}`, init);
