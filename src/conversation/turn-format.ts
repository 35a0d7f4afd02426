// What the reply of a turn is held to, and what the model is told of tools, as the engine and the template take it.
import { checkFormat, checkSchema, mostFormatCharacters, type Format } from "../engine/constraints/constraint.ts";
import { GriffinError } from "../errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { toolsText } from "../model/tool-text.ts";
import type { ToolUse, TurnOptions } from "./protocol.ts";
import { blamed } from "./blame.ts";
import type { Store } from "./store.ts";

/** Whether a reply may be a call of a tool. */
export const mayCall = ({ tools }: Pick<TurnOptions, "tools">): boolean => tools !== null && tools.choice !== "none";

/** The format of a reply; undefined where any will do. */
export function formatOf({ format, tools }: TurnOptions): Format | undefined {
  if (tools === null) return format ?? undefined;
  const { list, choice } = tools;
  const called = list.filter(({ name }) => choice !== "none" && (typeof choice === "string" || choice.name === name));
  const isForced = choice !== "none" && choice !== "auto";
  const otherwise = isForced ? null : (format ?? { type: "text" });
  return { type: "tool_call", tools: called.map(({ name, parameters }) => ({ name, parameters })), otherwise };
}

/**
 * Throws `invalid_argument` or `unsupported` where a reply cannot be held to what is asked for, blaming `format`, `tools`,
 * or the tool at fault, `tools[0]`.
 */
export function checkFormats(options: TurnOptions): void {
  const { format, tools } = options;
  if (format !== null) blamed("format", () => checkFormat(format));
  if (tools === null) return;
  blamed("tools", () => {
    if (toolsText(tools.list).length <= mostFormatCharacters) return;
    throw new GriffinError("unsupported", `All tools together have at most ${mostFormatCharacters} characters.`);
  });
  for (const [index, { parameters }] of tools.list.entries()) {
    blamed(`tools[${index}]`, () => checkSchema(parameters));
  }
  const whole = formatOf(options);
  if (whole !== undefined) blamed("tools", () => checkFormat(whole));
}

/** Tools that the model is told of only where it has not just been told of the same. */
export function toldOnce(tools: ToolUse | null, store: Store, parent: number | null): ToolUse | null {
  if (tools === null) return null;
  const before = parent === null ? null : (store.turn(parent)?.options.tools ?? null);
  const isKnown = before !== null && toolsText(before.list) === toolsText(tools.list);
  return { ...tools, isTold: !isKnown };
}

/** What a turn tells the model of tools, in front of its messages. */
export function toldTools({ tools }: Pick<TurnOptions, "tools">): ChatMessage[] {
  return tools?.isTold ? [{ role: "system", content: toolsText(tools.list) }] : [];
}
