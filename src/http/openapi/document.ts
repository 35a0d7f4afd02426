// The OpenAPI 3.1 document, made of the schemas that requests are really checked with. zod writes them as JSON Schema
// 2020-12, which is what OpenAPI 3.1 speaks. https://spec.openapis.org/oas/v3.1.1
import { z } from "zod";
import { bodyLimitBytes } from "../read-body.ts";
import { errorAnswer } from "./answers.ts";
import type { Operation } from "./operation.ts";
import { jsonForm } from "./written.ts";

type Json = Record<string, unknown>;

/** One event of a stream, as its fields. */
const serverSentEvent: Json = {
  type: "object",
  required: ["data"],
  properties: { event: { type: "string" }, data: { type: "string" }, id: { type: "string" } },
};

/** The document of these operations. */
export function openApiDocument(operations: readonly Operation[]): Json {
  const schemas: Json = {};
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: described(operation, schemas) };
  }
  const error = content(errorAnswer, schemas);
  return {
    openapi: "3.1.1",
    info: {
      title: "Griffin Edge",
      version: "1",
      description:
        "Recurrent language models behind OpenAI's API. Every answer has an `x-request-id` header. " +
        `A body may have ${bodyLimitBytes} bytes. Unless the server is open, requests under /v1 need an API key, and those under ` +
        "/v1/admin the administrators'; `x-ratelimit-…` headers say what is left of a key's limits.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    tags: [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    security: [{ key: [] }, {}],
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas,
      responses: { Error: { description: "It failed; `code` says why", content: error } },
    },
  };
}

function described(operation: Operation, schemas: Json): Json {
  const {
    method,
    path,
    tag,
    summary,
    description,
    query,
    headers = {},
    body,
    file,
    form,
    answer,
    streams,
    status = 200,
    nothing,
  } = operation;
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const inHeaders = Object.entries(headers).map(([name, what]) => ({
    name,
    in: "header",
    description: what,
    schema: { type: "string", minLength: 1, maxLength: 255 },
  }));
  return {
    operationId: `${method}${path.replaceAll(/[^a-zA-Z]+(\w)/g, (_, letter: string) => letter.toUpperCase()).replaceAll(/\W/g, "")}`,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    parameters: [...inPath, ...queryParameters(query, schemas), ...inHeaders],
    ...(body !== undefined && {
      requestBody: { required: true, content: { "application/json": { schema: jsonSchema(body, "input", schemas) } } },
    }),
    ...(file !== undefined && {
      requestBody: { required: true, content: { [file]: { schema: { type: "string", format: "binary" } } } },
    }),
    ...(form !== undefined && {
      requestBody: { required: true, content: { "multipart/form-data": { schema: formSchema(form, schemas) } } },
    }),
    responses: {
      [status]: {
        description: streams === undefined ? "Done" : `Done; ${streams}`,
        content: {
          ...content(answer, schemas),
          ...(streams !== undefined && { "text/event-stream": { schema: serverSentEvent } }),
        },
      },
      ...(nothing !== undefined && { 204: { description: nothing } }),
      default: { $ref: "#/components/responses/Error" },
    },
  };
}

function content(answer: z.ZodType | string, schemas: Json): Json {
  if (typeof answer === "string") return { [answer]: {} };
  return { "application/json": { schema: jsonSchema(answer, "output", schemas) } };
}

function queryParameters(query: z.ZodType | undefined, schemas: Json): Json[] {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(query, "input", schemas) as {
    properties?: Json;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    schema,
  }));
}

/** A form with these fields, those of objects as `a[b]`, and a file. */
function formSchema(form: z.ZodObject, schemas: Json): Json {
  const { properties = {}, required = [] } = jsonSchema(form, "input", schemas) as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  const fields = Object.entries(properties).flatMap(([name, schema]) =>
    Object.entries((schema["properties"] as Json | undefined) ?? { "": schema }).map(
      ([inner, each]) => [inner === "" ? name : `${name}[${inner}]`, each] as const,
    ),
  );
  const file = { type: "string", format: "binary" };
  return { type: "object", required: ["file", ...required], properties: { file, ...Object.fromEntries(fields) } };
}

/** A schema as JSON Schema; the named ones in it go to `schemas`. */
function jsonSchema(schema: z.ZodType, io: "input" | "output", schemas: Json): Json {
  const { $defs = {}, ...root } = withComponents(jsonForm(checked(schema), io));
  Object.assign(schemas, $defs);
  return root;
}

/** Named schemas are looked for among the document's components. */
const withComponents = (form: Json): { $defs?: Json } & Json =>
  JSON.parse(JSON.stringify(form).replaceAll("#/$defs/", "#/components/schemas/"));

/** What comes behind a look at fields that are refused. */
const checked = (schema: z.ZodType) => (schema instanceof z.ZodPipe ? (schema.out as z.ZodType) : schema);
