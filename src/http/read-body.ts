// The body of a request: bytes to JSON to a schema's type. What does not fit is named by the path of its field; its
// value is never repeated.
import type { HonoRequest, MiddlewareHandler } from "hono";
import { z } from "zod";
import { GriffinError } from "../errors.ts";
import { requestError } from "./errors.ts";

/** The largest body that is read. */
export const bodyLimitBytes = 2 ** 20;

/** So much of a body that is too large is read. */
export const mostDiscardedBytes = 2 ** 24;

/** Of a key that is repeated in an error. */
const mostKeyCharacters = 64;

/** So many unknown fields are named. */
const mostUnknownFields = 8;

/** Marks an issue of a schema as `unsupported`: well-formed, but more than this server does. */
export const unsupported = { params: { isUnsupported: true } };

export interface Body<T> {
  value: T;
  text: string;
  /** Its length as it was sent. */
  bytes: number;
}

/** The JSON body as the schema's type. */
export async function readBody<T>(request: HonoRequest, schema: z.ZodType<T>): Promise<Body<T>> {
  const { value, ...body } = await jsonOf(request);
  return { ...body, value: checkShape(schema, value) };
}

/** Bodies that were parsed, for who comes next. */
const parsed = new WeakMap<HonoRequest, Promise<Body<unknown>>>();

/** The JSON body, parsed once however often it is asked for; an empty one is `{}`. */
export function jsonOf(request: HonoRequest): Promise<Body<unknown>> {
  const body = parsed.get(request) ?? parseBody(request);
  parsed.set(request, body);
  return body;
}

async function parseBody(request: HonoRequest): Promise<Body<unknown>> {
  const buffer = await bytesOf(request);
  const text = decode(buffer);
  return { text, bytes: buffer.byteLength, value: text === "" ? {} : parse(text) };
}

/** `value` as the schema's type. */
export function checkShape<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue?.code === "unrecognized_keys") throw unknownFields(issue);
  // The name of a key that is not allowed is what somebody wrote, not a name of ours.
  const param =
    issue === undefined ? "" : pathText(issue.code === "invalid_key" ? issue.path.slice(0, -1) : issue.path);
  const isUnsupported = issue?.code === "custom" && issue.params?.["isUnsupported"] === true;
  const message = `${param || "The body"}: ${issue?.message ?? "invalid"}.`;
  if (param === "") throw new GriffinError("invalid_argument", message);
  throw requestError(isUnsupported ? "unsupported" : "invalid_argument", message, param);
}

/** Fields that a body may not have: they are named, for they are what its sender mistook. */
function unknownFields({ path, keys }: { path: readonly PropertyKey[]; keys: readonly string[] }): GriffinError {
  const named = keys.slice(0, mostUnknownFields).map((key) => pathText([...path, key]));
  const [param = ""] = named;
  const message = `${named.join(", ")}: there ${named.length === 1 ? "is no such field" : "are no such fields"} here.`;
  return requestError("invalid_argument", message, param);
}

/**
 * Reads what is left of a body that is refused, up to `mostBytes`: its sender would see a broken connection instead of
 * the answer.
 */
export async function discardBody({ body }: Request, mostBytes: number): Promise<void> {
  let bytes = 0;
  try {
    for await (const piece of body ?? []) if ((bytes += piece.byteLength) > mostBytes) return;
  } catch {
    // Whoever left will not miss the answer.
  }
}

/**
 * Lets in whoever sends at most `bodyLimitBytes`, be their number told or not. Hono's own body-limit leaves the rest of a
 * body whose length was not told, and its sender sees a broken connection.
 */
export const limitBody: MiddlewareHandler = async ({ req }, next) => {
  const { raw } = req;
  const told = raw.headers.has("transfer-encoding") ? null : raw.headers.get("content-length");
  if (raw.body === null) return next();
  if (told === null) {
    const body = await readBytes(req, bodyLimitBytes);
    req.raw = new Request(raw, { method: raw.method, body });
  } else if (Number(told) > bodyLimitBytes) {
    await discardBody(raw, mostDiscardedBytes);
    throw bodyTooLarge(bodyLimitBytes);
  }
  return next();
};

/** The bytes of a body, at most `limitBytes` of which are ever held. Throws `body_too_large`. */
export async function readBytes({ raw }: HonoRequest, limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of raw.body ?? []) {
      bytes += piece.byteLength;
      if (bytes <= limitBytes) pieces.push(piece);
      else if (bytes > limitBytes + mostDiscardedBytes) break;
    }
  } catch (cause) {
    throw left(cause);
  }
  if (bytes > limitBytes) throw bodyTooLarge(limitBytes);
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

const bodyTooLarge = (limitBytes: number) =>
  new GriffinError("body_too_large", `This body may have at most ${limitBytes} bytes.`);

export const left = (cause: unknown) =>
  new GriffinError("cancelled", "The client left before its request was here.", { cause });

async function bytesOf(request: HonoRequest): Promise<ArrayBuffer> {
  try {
    return await request.arrayBuffer();
  } catch (cause) {
    throw left(cause);
  }
}

/** A whole number of a query, in decimal digits. */
export const wholeNumber = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,16}$/, "expected a whole number")
    .transform(Number)
    .pipe(z.number().min(least).max(most));

/** `messages[0].role` */
function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) =>
      typeof key === "number" ? `[${key}]` : `${index > 0 ? "." : ""}${String(key).slice(0, mostKeyCharacters)}`,
    )
    .join("");
}

function decode(bytes: ArrayBuffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new GriffinError("invalid_argument", "The body is not UTF-8.");
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new GriffinError("invalid_argument", "The body is not valid JSON.");
  }
}
