// /v1/files: what batches read and write. A file is in R2 under its tenant's name; what is known of it is in the tenant's
// registry.
import { Hono, type Context, type HonoRequest } from "hono";
import { z } from "zod";
import type { FileBucket } from "../batch/env.ts";
import { FileWriter } from "../batch/file-writer.ts";
import { mostFileBytes, type FileView } from "../batch/protocol.ts";
import { retentionMs } from "../conversation/retention.ts";
import { GriffinError } from "../errors.ts";
import type { AppEnv } from "./context.ts";
import { formatJobId, noSuch, parseJobId } from "./ids.ts";
import { listOf } from "./lists.ts";
import { readForm } from "./multipart.ts";
import { randomName } from "./object-names.ts";
import { checkShape, unsupported, wholeNumber } from "./read-body.ts";
import { batchRegistryStub, fileFolder, found } from "./stubs.ts";

const mostNameCharacters = 255;
/** An hour to thirty days, as OpenAI has it. */
export const expiryAfter = z.object({
  anchor: z.literal("created_at"),
  seconds: z.coerce.number().int().min(3_600).max(2_592_000),
});
/** OpenAI's other purposes belong to APIs that are not here. */
const otherPurposes = new Set(["assistants", "fine-tune", "vision", "user_data", "evals"]);

export const uploadForm = z.object({
  purpose: z
    .string()
    .refine((purpose) => !otherPurposes.has(purpose), { message: "only batch is supported", ...unsupported })
    .pipe(z.literal("batch")),
  expires_after: expiryAfter.optional(),
});

export const filesQuery = z.object({
  after: z.string().optional(),
  limit: wholeNumber(1, 10_000).default(10_000),
  order: z.enum(["asc", "desc"]).default("desc"),
  purpose: z.enum(["batch", "batch_output"]).optional(),
});

/** Whether a request brings a file: it is read while it comes. */
export const isUpload = ({ method, path }: HonoRequest): boolean => method === "POST" && path === "/v1/files";

export const files = new Hono<AppEnv>()
  .post("/v1/files", async (context) => {
    const bucket = bucketOf(context);
    const { stub: registry } = batchRegistryStub(context);
    const id = formatJobId("file", randomName());
    const key = fileFolder(context) + id;
    await registry.beginFile(id, key, "batch");
    const writer = new FileWriter(bucket, key);
    try {
      const { fileName, fields } = await readForm(context.req, mostFileBytes, (piece) => writer.write(piece));
      const { expires_after: expiry } = checkShape(uploadForm, shapeOf(fields));
      if (fileName === null) throw new GriffinError("invalid_argument", "file: expected a file.");
      await writer.end();
      const keepMs = Math.min(retentionMs(context.env), expiry === undefined ? Infinity : expiry.seconds * 1000);
      const name = fileName.slice(0, mostNameCharacters);
      return context.json(fileObject(await registry.endFile(id, name, writer.bytes, keepMs)));
    } catch (error) {
      const tidy = Promise.allSettled([writer.abort(), registry.giveUpFile(id)]);
      context.executionCtx.waitUntil(tidy);
      throw error;
    }
  })
  .get("/v1/files", async (context) => {
    const { after = null, limit, order, purpose = null } = checkShape(filesQuery, context.req.query());
    bucketOf(context);
    const { files: views, isLast } = await batchRegistryStub(context).stub.files({ after, limit, order }, purpose);
    return context.json(listOf(views.map(fileObject), !isLast));
  })
  .get("/v1/files/:id", async (context) => context.json(fileObject(await fileOf(context))))
  .get("/v1/files/:id/content", async (context) => {
    const { key, name } = await fileOf(context);
    const file = await bucketOf(context).get(key);
    if (file === null) throw noSuch("file");
    return context.body(file.body, 200, {
      "content-type": "application/octet-stream",
      "content-length": String(file.size),
      "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
    });
  })
  .delete("/v1/files/:id", async (context) => {
    bucketOf(context);
    const id = context.req.param("id");
    parseJobId("file", id);
    await found(batchRegistryStub(context).stub.removeFile(id), unknownFile);
    return context.json({ id, object: "file", deleted: true });
  });

type Asked = Pick<Context<AppEnv>, "env">;

/** Where files are. Throws `unsupported` where there is no such place. */
export function bucketOf({ env: { FILES } }: Asked): FileBucket {
  if (FILES !== undefined) return FILES;
  throw new GriffinError("unsupported", "This server keeps no files: FILES, a bucket of R2, is not bound.");
}

/** The file that the path names. */
async function fileOf(context: Context<AppEnv, "/v1/files/:id">): Promise<FileView> {
  bucketOf(context);
  const id = context.req.param("id");
  parseJobId("file", id);
  return found(batchRegistryStub(context).stub.file(id), unknownFile);
}

const unknownFile = () => noSuch("file");

/** Fields of a form, `a[b]` as a field of `a`. */
function shapeOf(fields: Record<string, string>): Record<string, unknown> {
  const expiry = Object.entries(fields).flatMap(([name, value]) => {
    const [, inner] = /^expires_after\[(\w+)\]$/.exec(name) ?? [];
    return inner === undefined ? [] : [[inner, value] as const];
  });
  return { purpose: fields["purpose"], ...(expiry.length > 0 && { expires_after: Object.fromEntries(expiry) }) };
}

const fileObject = ({ id, name, purpose, bytes, createdMs, expiresMs }: FileView) => ({
  id,
  object: "file" as const,
  bytes,
  created_at: Math.floor(createdMs / 1000),
  /** Absent: never. */
  ...(expiresMs !== null && { expires_at: Math.floor(expiresMs / 1000) }),
  filename: name,
  purpose,
  status: "processed" as const,
});
