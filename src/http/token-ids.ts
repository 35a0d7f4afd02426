// Token ids in requests. Lists have hundreds of thousands, so they are looked at in one go instead of by a schema each.
import { z } from "zod";
import { written } from "./openapi/written.ts";

/** Whether a value is a list of what may be token ids; the model knows which are. */
export const isTokenIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0);

export const tokenIds = written(z.custom<number[]>(isTokenIds, "expected a list of token ids"), {
  type: "array",
  items: { type: "integer", minimum: 0 },
});
