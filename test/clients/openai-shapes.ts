// Validates answers against JSON schemas made of openai-node's own types.
import path from "node:path";
import { Ajv } from "ajv";
import { createGenerator } from "ts-json-schema-generator";
import type { Answers } from "./openai-types.ts";

interface JsonSchema {
  required?: string[];
  properties?: Record<string, JsonSchema | undefined>;
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
// Where OpenAI's own answers are not of the client's types. Of a response the client makes `output_text` itself.
const response = definition("Response");
response.required = response.required?.filter((name) => name !== "output_text");
allowNull(response, "usage", "user");
// Nothing comes before the first token of a prompt.
const logprobs = definition("CompletionChoice.Logprobs").properties ?? {};
for (const name of ["token_logprobs", "top_logprobs"]) allowNull(logprobs[name], "items");

const ajv = new Ajv({ strict: false, allErrors: false, verbose: false });
ajv.addSchema({ ...schema, $id: "openai" });

function definition(name: string): JsonSchema {
  const found = schema.definitions?.[name];
  if (typeof found !== "object") throw new Error(`openai-node has no type ${name} any more.`);
  return found as JsonSchema;
}

/** Lets fields of an object, or the items of a list, be null as well. */
function allowNull(of: JsonSchema | undefined, ...names: string[]): void {
  const fields = (names[0] === "items" ? of : of?.properties) as Record<string, object | undefined> | undefined;
  if (fields === undefined) throw new Error(`There is no ${names.join(", ")}.`);
  for (const name of names) fields[name] = { anyOf: [{ type: "null" }, fields[name]] };
}

/** Makes the checks of these types, which takes seconds: between two requests a server would close the connection. */
export function compileShapes(...types: (keyof Answers)[]): void {
  for (const type of types) ajv.getSchema(`openai#/properties/${type}`);
}

/** Returns an answer, or fails where it is not of the type that the client promises. */
export function checkShape(type: keyof Answers, answer: unknown): void {
  const validate = ajv.getSchema(`openai#/properties/${type}`);
  if (validate === undefined) throw new Error(`There is no schema of ${type}.`);
  if (validate(answer)) return;
  const [error] = validate.errors ?? [];
  throw new Error(`${type}${error?.instancePath ?? ""} ${error?.message ?? ""}: ${JSON.stringify(validate.errors)}`);
}
