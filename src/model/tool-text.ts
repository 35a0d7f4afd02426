// How tools, calls of them and their results are written for the model, in the way of Hermes and Qwen. A call's text is
// the same whether the model wrote it or a client sends it back: so a conversation is found again by its texts.

/** A function that the model may call. */
export interface Tool {
  name: string;
  description: string | null;
  /** JSON Schema of the arguments, as JSON text. */
  parameters: string;
  /** As its caller said; arguments are held to the schema in any case. */
  strict: boolean | null;
}

/** Names need no escapes in JSON. */
export const toolNameShape = /^[a-zA-Z0-9_-]{1,64}$/;

/** What a call begins with. */
export const callMark = "<tool_call>";
/** Everything before a call's arguments. */
export const callOpening = (name: string): string => `${callMark}\n{"name": "${name}", "arguments": `;
/** Everything behind them. */
export const callClosing = "}\n</tool_call>";

/** A call; `argumentsText` is JSON, and kept as it is. */
export const callText = (name: string, argumentsText: string): string =>
  callOpening(name) + argumentsText + callClosing;

const opening = /^<tool_call>\n\{"name": "([a-zA-Z0-9_-]{1,64})", "arguments": /;

export interface ToolCall {
  name: string;
  arguments: string;
  /** Whether it came to its end. */
  isWhole: boolean;
}

/** The call that a reply is, as far as it came; null where it is none, or its name is not whole yet. */
export function readCall(text: string): ToolCall | null {
  const [head, name] = opening.exec(text) ?? [];
  if (head === undefined || name === undefined) return null;
  const rest = text.slice(head.length);
  const isWhole = rest.endsWith(callClosing);
  return { name, isWhole, arguments: isWhole ? rest.slice(0, -callClosing.length) : rest };
}

/** How many characters at the end of a text may belong to what closes a call. */
export function closingLength(text: string): number {
  for (let length = Math.min(callClosing.length, text.length); length > 0; length--) {
    if (text.endsWith(callClosing.slice(0, length))) return length;
  }
  return 0;
}

/** What a tool answered. */
export const responseText = (output: string): string => `<tool_response>\n${output}\n</tool_response>`;

/** What the model is told of its tools. */
export function toolsText(tools: readonly Tool[]): string {
  const lines = tools.map(({ name, description, parameters }) => {
    const told = description === null ? "" : `"description": ${JSON.stringify(description)}, `;
    return `{"type": "function", "function": {"name": "${name}", ${told}"parameters": ${parameters}}}`;
  });
  return [
    "# Tools",
    "",
    "You may call one function. You have these, as JSON, within <tools></tools>:",
    "<tools>",
    ...lines,
    "</tools>",
    "",
    "To call one, reply with nothing but its name and arguments within <tool_call></tool_call>:",
    callText("<function>", "<arguments>"),
  ].join("\n");
}
