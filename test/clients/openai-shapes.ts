// Validates answers against JSON schemas made of openai-node's own types.
import path from "node:path";
import { Ajv } from "ajv";
import { createGenerator } from "ts-json-schema-generator";
import type { Answers } from "./openai-types.ts";

interface JsonSchema {
  required?: string[];
  properties?: Record<string, object | undefined>;
}

const file = path.join(import.meta.dirname, "openai-types.ts");
const schema = createGenerator({
  path: file,
  tsconfig: path.join(import.meta.dirname, "../../tsconfig.json"),
  type: "Answers",
  skipTypeCheck: true,
  additionalProperties: true,
  topRef: false,
}).createSchema("Answers");
// Of a response the client makes `output_text` itself; the others are null in OpenAI's own answers, whatever the type says.
const response = schema.definitions?.["Response"] as JsonSchema;
response.required = response.required?.filter((name) => name !== "output_text");
for (const name of ["usage", "user"]) {
  const { [name]: field } = response.properties ?? {};
  response.properties = { ...response.properties, [name]: { anyOf: [{ type: "null" }, field] } };
}

const ajv = new Ajv({ strict: false, allErrors: false, verbose: false });
ajv.addSchema({ ...schema, $id: "openai" });

/** Returns an answer, or fails where it is not of the type that the client promises. */
export function checkShape(type: keyof Answers, answer: unknown): void {
  const validate = ajv.getSchema(`openai#/properties/${type}`);
  if (validate === undefined) throw new Error(`There is no schema of ${type}.`);
  if (validate(answer)) return;
  const [error] = validate.errors ?? [];
  throw new Error(`${type}${error?.instancePath ?? ""} ${error?.message ?? ""}: ${JSON.stringify(validate.errors)}`);
}
