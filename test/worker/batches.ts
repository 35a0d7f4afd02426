// Batches and files as the HTTP layer makes them, in R2 and with the queue of the local runtime.
import { env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import type { DurableObjectStorage } from "@cloudflare/workers-types";
import type { StoredBatch } from "../../src/batch/batch-store.ts";
import type { BatchView, Endpoint, LineResult, Report, ResultKind } from "../../src/batch/protocol.ts";
import { randomName } from "../../src/http/object-names.ts";

export const bucket = env.FILES!;
export const registryOf = (name: string) => env.BATCH_REGISTRIES.get(env.BATCH_REGISTRIES.idFromName(name));
export const batchOf = (name: string) => env.BATCHES.get(env.BATCHES.idFromName(name));
const utf8 = new TextEncoder();

/** A line of a request that is answered in few tokens. */
export const lineOf = (customId: string, body: object = {}, url: Endpoint = "/v1/completions") =>
  JSON.stringify({
    custom_id: customId,
    method: "POST",
    url,
    body: { model: "pocket", prompt: "The fox", max_tokens: 2, temperature: 0, ...body },
  });

/** A file of a registry. */
export async function upload(registry: string, text: string, keepMs = Infinity) {
  const id = `file-${randomName()}`;
  const key = `${registry}/${id}`;
  await registryOf(registry).beginFile(id, key, "batch");
  const bytes = utf8.encode(text);
  await bucket.put(key, bytes);
  return registryOf(registry).endFile(id, "in.jsonl", bytes.byteLength, keepMs);
}

export interface Begun {
  name: string;
  view: BatchView;
  stub: ReturnType<typeof batchOf>;
}

/** Begins a batch of these lines. Where its name begins with "by hand/" nobody but the test runs its lines. */
export async function begin(
  name: string,
  lines: readonly string[],
  { endpoint = "/v1/completions" as Endpoint, registry = `registry of ${name}` } = {},
): Promise<Begun> {
  const { id: inputFile } = await upload(registry, lines.join("\n"));
  const view = await batchOf(name).create({
    id: `batch_${randomName()}`,
    name,
    registry,
    tenant: "",
    key: null,
    inputFile,
    outputFile: `file-${randomName()}`,
    errorFile: `file-${randomName()}`,
    folder: `${registry}/`,
    endpoint,
    metadata: {},
    outputExpiresAfterS: null,
    notify: { registry: `webhooks/${name}`, url: null },
  });
  return { name, view, stub: batchOf(name) };
}

export const inBatch = <R>(name: string, run: (storage: DurableObjectStorage) => R): Promise<R> =>
  runInDurableObject(batchOf(name) as never, (_, { storage }) => run(storage));

/** Changes what is stored of a batch. */
export const change = (name: string, fields: Partial<StoredBatch>) =>
  inBatch(name, ({ kv }) => kv.put("batch", { ...kv.get<StoredBatch>("batch")!, ...fields }));

/** Lets what a batch waits for be over: an object that wakes knows of no pause. */
export async function wake(name: string): Promise<void> {
  await inBatch(name, ({ sql }) => sql.exec("UPDATE strikes SET again_ms = 0").toArray());
  await evictDurableObject(batchOf(name) as never);
}

/** The lines of a file of a batch. */
export async function linesIn(registry: string, file: string | null): Promise<Record<string, never>[]> {
  if (file === null) return [];
  const { key } = await registryOf(registry).file(file);
  const text = new TextDecoder().decode(await (await bucket.get(key))!.arrayBuffer());
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, never>);
}

export const result = (line: number, kind: ResultKind = "output", text = `{"line":${line}}\n`): LineResult => ({
  line,
  kind,
  text,
});

export const report = (fields: Partial<Report>): Report => ({
  results: [],
  failed: [],
  pauseMs: null,
  isLast: true,
  ...fields,
});
