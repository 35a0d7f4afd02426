// Tools as callers name them, in both of OpenAI's forms, and what they become in a turn's options. Whether arguments can
// be held to a schema is for the engine to say.
import { z } from "zod";
import type { ToolUse } from "../conversation/protocol.ts";
import { toolNameShape, type Tool } from "../model/tool-text.ts";
import { requestError } from "./errors.ts";
import { jsonForm, written } from "./openapi/written.ts";
import { typedUnion } from "./typed-union.ts";

const mostTools = 128;

const name = z.string().regex(toolNameShape, "expected 1 to 64 letters, digits, underscores and dashes");
const definition = {
  name,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
};
type Definition = z.infer<z.ZodObject<typeof definition>>;

const type = z.literal("function");
const chatTool = z.object({ type, function: z.object(definition) });
const responseTool = z.object({ type, ...definition });
const modes = z.enum(["none", "auto", "required"]);

/** A mode, or one function by its name. */
function choiceOf<T>(one: z.ZodType<T>): z.ZodType<z.infer<typeof modes> | T> {
  const typed = typedUnion(["function"], one);
  const either = z.unknown().transform((value, context): z.infer<typeof modes> | T => {
    const result = typeof value === "string" ? modes.safeParse(value) : typed.safeParse(value);
    if (result.success) return result.data;
    for (const issue of result.error.issues) context.issues.push(issue as never);
    return z.NEVER;
  });
  return written(either, { anyOf: [jsonForm(modes), jsonForm(one)] });
}

/** `tools` and what belongs to them, of chat completions. */
export const chatToolFields = {
  tools: z
    .array(typedUnion(["function"], chatTool))
    .max(mostTools)
    .nullish(),
  tool_choice: choiceOf(z.object({ type, function: z.object({ name }) })).nullish(),
  parallel_tool_calls: z.boolean().nullish(),
};

/** The same of responses. */
export const responseToolFields = {
  tools: z
    .array(typedUnion(["function"], responseTool))
    .max(mostTools)
    .nullish(),
  tool_choice: choiceOf(z.object({ type, name })).nullish(),
  parallel_tool_calls: z.boolean().nullish(),
};

type ChatAsked = z.infer<z.ZodObject<typeof chatToolFields>>;
type ResponseAsked = z.infer<z.ZodObject<typeof responseToolFields>>;

/** The tools of a chat completion; null for none. */
export function chatTools({ tools, tool_choice: choice, parallel_tool_calls: isParallel }: ChatAsked): ToolUse | null {
  const named = typeof choice === "object" && choice !== null ? { name: choice.function.name } : choice;
  return toolUse(
    (tools ?? []).map((tool) => tool.function),
    named,
    isParallel,
    (i) => `tools[${i}].function`,
  );
}

/** The tools of a response; null for none. */
export function responseTools({ tools, tool_choice: choice, parallel_tool_calls: isParallel }: ResponseAsked) {
  const named = typeof choice === "object" && choice !== null ? { name: choice.name } : choice;
  return toolUse(tools ?? [], named, isParallel, (i) => `tools[${i}]`);
}

function toolUse(
  definitions: readonly Definition[],
  choice: ToolUse["choice"] | null | undefined,
  isParallel: boolean | null | undefined,
  at: (index: number) => string,
): ToolUse | null {
  const names = definitions.map((each) => each.name);
  const twice = names.findIndex((each, index) => names.indexOf(each) < index);
  if (twice >= 0) throw wrong(`${at(twice)}.name`, "expected every tool to have a name of its own");
  if (typeof choice === "object" && choice !== null && !names.includes(choice.name)) {
    throw wrong("tool_choice", "expected the name of one of the tools");
  }
  if (choice === "required" && names.length === 0) throw wrong("tool_choice", "expected tools to choose from");
  if (names.length === 0) return null;
  const list = definitions.map((each, index): Tool => ({
    name: each.name,
    description: each.description ?? null,
    parameters: JSON.stringify(parametersOf(each, `${at(index)}.parameters`)),
    strict: each.strict ?? null,
  }));
  return { list, choice: choice ?? "auto", isParallel: isParallel ?? true, isTold: true };
}

/** Arguments are an object, of no members where nothing is said of them. */
function parametersOf({ parameters }: Definition, at: string): Record<string, unknown> {
  if (!parameters) return { type: "object", properties: {}, additionalProperties: false };
  if (parameters["type"] === undefined) return { type: "object", ...parameters };
  if (parameters["type"] !== "object") throw wrong(at, 'expected a schema of type "object"');
  return parameters;
}

/** The tools as responses say them again. */
export function wireTools(use: ToolUse | null) {
  return {
    tools: (use?.list ?? []).map((tool) => ({
      type: "function" as const,
      name: tool.name,
      description: tool.description,
      parameters: JSON.parse(tool.parameters) as Record<string, unknown>,
      strict: tool.strict,
    })),
    tool_choice:
      typeof use?.choice === "object" ? { type: "function" as const, ...use.choice } : (use?.choice ?? "auto"),
    parallel_tool_calls: use?.isParallel ?? true,
  };
}

/** The field of a tool at fault, where an object blames it; `schema`: what its schema is called. */
export function toolField(ours: string, schema: string): string | undefined {
  if (ours === "tools") return ours;
  return /^tools\[\d+\]$/.test(ours) ? `${ours}.${schema}` : undefined;
}

const wrong = (param: string, what: string) => requestError("invalid_argument", `${param}: ${what}.`, param);
