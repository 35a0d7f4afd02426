// The files that a batch writes: results of its lines, and lines that nobody ran.
import type { BatchRegistry } from "./registry.ts";
import type { Remote } from "../outbox/env.ts";
import { GriffinError } from "../errors.ts";
import type { StoredBatch } from "./batch-store.ts";
import type { FileBucket } from "./env.ts";
import { FileWriter } from "./file-writer.ts";
import { LineReader, requestOf, type Line } from "./lines.ts";
import type { Malformed } from "./plan.ts";
import { failedLine } from "./results.ts";
import type { LineResult } from "./protocol.ts";

/** Lines that are kept together. */
const linesOfRow = 1_000;
const utf8 = new TextEncoder();

/** The results of lines that are no requests, some at a time. */
export function* malformedLines(batch: string, malformed: readonly Malformed[]): Generator<LineResult[]> {
  for (let from = 0; from < malformed.length; from += linesOfRow) {
    const some = malformed.slice(from, from + linesOfRow);
    yield some.map(({ line, customId, fault }) => failedLine(batch, line, customId, fault));
  }
}

/** The results of lines that were not done when the batch's time was over: the input is read again for their ids. */
export async function* expiredLines(
  bucket: FileBucket,
  { id, inputKey, endpoint }: StoredBatch,
  isDone: (line: number) => boolean,
): AsyncGenerator<Uint8Array> {
  const file = await bucket.get(inputKey ?? "");
  if (file === null) throw new GriffinError("io_failed", "The input file is not there any more.");
  const code = "batch_expired";
  const message = "This request could not be executed before the completion window expired.";
  const reader = new LineReader();
  let number = 0;
  const told = (lines: Iterable<Line>) => {
    let text = "";
    for (const line of lines) {
      const at = number++;
      if (!isDone(at)) text += failedLine(id, at, requestOf(line, endpoint).customId, { code, message }).text;
    }
    return utf8.encode(text);
  };
  for await (const piece of file.body) yield told(reader.push(piece));
  yield told(reader.end());
}

interface Place {
  bucket: FileBucket;
  registry: Remote<BatchRegistry>;
  /** Infinity: for ever. */
  keepMs: number;
}

/** Writes a file from beginning to end, and registers it. */
export async function writeFile(
  { bucket, registry, keepMs }: Place,
  { id, folder }: Pick<StoredBatch, "id" | "folder">,
  file: string,
  name: "output" | "error",
  ...contents: (Iterable<Uint8Array> | AsyncIterable<Uint8Array>)[]
): Promise<void> {
  const key = folder + file;
  await registry.beginFile(file, key, "batch_output");
  const writer = new FileWriter(bucket, key);
  try {
    for (const content of contents) for await (const piece of content) await writer.write(piece);
    await writer.end();
  } catch (error) {
    await writer.abort().catch(() => undefined);
    throw error;
  }
  await registry.endFile(file, `${id}_${name}.jsonl`, writer.bytes, keepMs);
}
