// Calls of tools, as Hermes and Qwen write them: a reply that is nothing but
//   <tool_call>\n{"name": "…", "arguments": {…}}\n</tool_call>
import { callClosing, callMark, callOpening } from "../../model/tool-text.ts";
import { anyCharacter, charsOf, without } from "./char-set.ts";
import { character, choice, literal, repeat, sequence, type Expression } from "./expression.ts";
import { jsonSchema } from "./json-schema.ts";

/** A call of one of these tools, with arguments that validate. */
export const toolCall = (tools: readonly { name: string; parameters: unknown }[]): Expression =>
  choice(
    ...tools.map(({ name, parameters }) =>
      sequence(literal(callOpening(name)), jsonSchema(parameters), literal(callClosing)),
    ),
  );

/** Any text that does not begin like a call, nor end in the middle of that beginning. */
export const textBeside: Expression = choice(
  sequence(),
  ...Array.from(callMark, (char, index) =>
    sequence(
      literal(callMark.slice(0, index)),
      character(without(anyCharacter, charsOf(char))),
      repeat(character(anyCharacter)),
    ),
  ),
);
