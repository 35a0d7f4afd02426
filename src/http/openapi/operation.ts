// An operation of the API, as the route's file would say it if it spoke to its users.
import type { z } from "zod";

export type Method = "get" | "post" | "put" | "patch" | "delete";

export interface Operation {
  method: Method;
  /** As in OpenAPI: `/v1/models/{id}`. */
  path: string;
  tag: string;
  summary: string;
  description?: string;
  /** The schema that the route checks the query with. */
  query?: z.ZodType;
  /** Headers that the route reads: name → what for. */
  headers?: Record<string, string>;
  /** The schema that the route checks the body with; absent where it reads none. */
  body?: z.ZodType;
  /** The media type of a body that is a file. */
  file?: string;
  /** The schema that the route checks the fields of a form with; beside them it has a file, `file`. */
  form?: z.ZodObject;
  /** The answer when all is well: a schema of JSON, or a media type whose content has no schema. */
  answer: z.ZodType | string;
  /** It may also answer with server-sent events, and when. */
  streams?: string;
  status?: number;
  /** It may also answer 204, with nothing, and when. */
  nothing?: string;
}
