// /v1/batches: many requests in a file, run one day or sooner, answered in a file.
import { Hono, type Context } from "hono";
import { z } from "zod";
import { endpoints, type BatchView } from "../batch/protocol.ts";
import { GriffinError } from "../errors.ts";
import { registryName } from "../outbox/env.ts";
import type { AppEnv } from "./context.ts";
import { requestError } from "./errors.ts";
import { bucketOf, expiryAfter } from "./files.ts";
import { formatJobId, noSuch, parseJobId } from "./ids.ts";
import { listOf } from "./lists.ts";
import { randomName } from "./object-names.ts";
import { checkShape, readBody, wholeNumber } from "./read-body.ts";
import { repeatOf } from "./repeat.ts";
import { batchRegistryStub, batchStub, fileFolder, found, orGone } from "./stubs.ts";
import { metadata } from "./turn-fields.ts";
import { checkAddress, checkSigning } from "./webhook-endpoints.ts";

export const batchRequest = z.object({
  input_file_id: z.string(),
  endpoint: z.enum(endpoints),
  completion_window: z.literal("24h"),
  metadata,
  output_expires_after: expiryAfter.nullish(),
  webhook_url: z.string().nullish().describe("Where to tell of its end, beside the endpoints that want to know"),
});
export const batchesQuery = z.object({ after: z.string().optional(), limit: wholeNumber(1, 100).default(20) });

export const batches = new Hono<AppEnv>()
  .post("/v1/batches", async (context) => {
    const { value, text } = await readBody(context.req, batchRequest);
    bucketOf(context);
    if (context.env.BATCH_QUEUE === undefined) {
      throw new GriffinError("unsupported", "This server runs no batches: BATCH_QUEUE, of Queues, is not bound.");
    }
    parseFileId(value.input_file_id);
    const { webhook_url: url = null } = value;
    if (url !== null) {
      checkAddress(context, url, "webhook_url");
      await checkSigning(context, "webhook_url");
    }
    const { newObject: object } = await repeatOf(context, text, true);
    const { stub, name } = batchStub(context, object);
    const { key, tenant } = context.var;
    const view = await found(
      stub.create({
        id: formatJobId("batch", object),
        name,
        registry: batchRegistryStub(context).name,
        tenant,
        key,
        inputFile: value.input_file_id,
        outputFile: formatJobId("file", randomName()),
        errorFile: formatJobId("file", randomName()),
        folder: fileFolder(context),
        endpoint: value.endpoint,
        metadata: value.metadata ?? {},
        outputExpiresAfterS: value.output_expires_after?.seconds ?? null,
        notify: { registry: registryName(tenant), url },
      }),
      unknownInput,
    );
    return context.json(batchObject(view));
  })
  .get("/v1/batches", async (context) => {
    const { after = null, limit } = checkShape(batchesQuery, context.req.query());
    bucketOf(context);
    const { ids, isLast } = await batchRegistryStub(context).stub.batches({ after, limit });
    // One that goes at this moment is none.
    const views = await Promise.all(ids.map((id) => viewOf(context, id).catch(orGone)));
    const data = views.filter((view) => view !== null).map(batchObject);
    return context.json({ ...listOf(data, !isLast), last_id: ids.at(-1) ?? null });
  })
  .get("/v1/batches/:id", async (context) => context.json(batchObject(await viewOf(context, context.req.param("id")))))
  .post("/v1/batches/:id/cancel", async (context) => {
    const { stub } = batchStub(context, parseJobId("batch", context.req.param("id")));
    return context.json(batchObject(await found(stub.cancel(), unknownBatch)));
  });

const viewOf = (context: Context<AppEnv>, id: string): Promise<BatchView> =>
  found(batchStub(context, parseJobId("batch", id)).stub.view(), unknownBatch);

const unknownBatch = () => noSuch("batch");
const unknownInput = () => requestError("not_found", noSuch("file").message, "input_file_id");

function parseFileId(id: string): void {
  try {
    parseJobId("file", id);
  } catch {
    throw unknownInput();
  }
}

const seconds = (ms: number | undefined) => (ms === undefined ? undefined : Math.floor(ms / 1000));

/** In OpenAI's form: what has not happened is absent. */
function batchObject(view: BatchView) {
  const { times, faults } = view;
  return {
    id: view.id,
    object: "batch" as const,
    endpoint: view.endpoint,
    ...(faults.length > 0 && { errors: { object: "list" as const, data: faults } }),
    input_file_id: view.inputFile,
    completion_window: "24h" as const,
    status: view.status,
    output_file_id: view.outputFile ?? undefined,
    error_file_id: view.errorFile ?? undefined,
    created_at: Math.floor(view.createdMs / 1000),
    in_progress_at: seconds(times.in_progress),
    expires_at: Math.floor(view.expiresMs / 1000),
    finalizing_at: seconds(times.finalizing),
    completed_at: seconds(times.completed),
    failed_at: seconds(times.failed),
    expired_at: seconds(times.expired),
    cancelling_at: seconds(times.cancelling),
    cancelled_at: seconds(times.cancelled),
    request_counts: view.counts,
    metadata: view.metadata,
  };
}
