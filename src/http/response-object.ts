// A turn as the Responses API shows it: the response and its one output item, a message or a call of a tool.
import type { ListedTurn, TurnView } from "../conversation/protocol.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { ToolCall } from "../model/tool-text.ts";
import { wireError } from "./errors.ts";
import { formatCallId, formatId, formatItemId, formatMessageId } from "./ids.ts";
import type { WireLogProbability } from "./log-probabilities.ts";
import { wireTextFormat } from "./reply-format.ts";
import { callOf, isUndecided } from "./tool-calls.ts";
import { wireTools } from "./tools.ts";
import { refusalOf, turnError } from "./turn-events.ts";
import { reportOf, responseUsage } from "./usage.ts";

const seconds = (ms: number) => Math.floor(ms / 1000);

/**
 * The messages of a request: its instructions, then its input. Only instructions have the role `system`, so that they
 * can be told from the input again; the model reads `developer` the same way.
 */
export function messagesOf(instructions: string | null | undefined, input: readonly ChatMessage[]): ChatMessage[] {
  const inputs = input.map((message) =>
    message.role === "system" ? { ...message, role: "developer" as const } : message,
  );
  return instructions ? [{ role: "system", content: instructions }, ...inputs] : [...inputs];
}

/** What `messagesOf` put together. */
export function splitMessages({ messages }: Pick<TurnView, "messages">) {
  const [first, ...rest] = messages;
  return first?.role === "system"
    ? { instructions: first.content, input: rest }
    : { instructions: null, input: messages };
}

/** The part that holds the reply. */
export const outputText = (text: string, logprobs: WireLogProbability[] = []) => ({
  type: "output_text" as const,
  text,
  annotations: [],
  logprobs,
});

/** The part that says why there is no reply, or no more of it. */
export const refusalPart = (refusal: string) => ({ type: "refusal" as const, refusal });

export type OutputPart = ReturnType<typeof outputText> | ReturnType<typeof refusalPart>;

/** Whether there is, or will be, a reply that was not deleted. */
export const hasReply = ({ kind, removedItems }: Pick<TurnView, "kind" | "removedItems">): boolean =>
  kind === "reply" && !removedItems.includes(0);

/** The reply as an output item. */
export function outputItem(object: string, view: Pick<TurnView, "turn" | "status">, content: OutputPart[]) {
  const isWhole = view.status === "completed" || view.status === "in_progress";
  return {
    id: formatMessageId({ object, number: view.turn }, 0),
    type: "message" as const,
    role: "assistant" as const,
    status: isWhole ? view.status : ("incomplete" as const),
    content,
  };
}

/** A call as an output item: the reply, or `argumentsText` of it so far. */
export function callItem(
  object: string,
  view: Pick<TurnView, "turn" | "status">,
  call: Pick<ToolCall, "name" | "arguments">,
) {
  const id = { object, number: view.turn };
  const isWhole = view.status === "completed" || view.status === "in_progress";
  return {
    id: formatItemId("function_call", id, 0),
    type: "function_call" as const,
    call_id: formatCallId(id),
    name: call.name,
    arguments: call.arguments,
    status: isWhole ? view.status : ("incomplete" as const),
  };
}

/** The reply as an item, whichever it is. */
export function replyItem(object: string, view: ListedTurn, logprobs: WireLogProbability[] = []) {
  const call = callOf(view);
  return call === null ? outputItem(object, view, [outputText(view.text, logprobs)]) : callItem(object, view, call);
}

/** What there is of a reply: its item, and where moderation refused it, or the rest of it, the refusal. */
function outputOf(object: string, view: TurnView, logprobs: WireLogProbability[]) {
  const { status, text } = view;
  const refusal = refusalOf(view);
  if (refusal === null) {
    const isComing = status === "in_progress" && view.mayCall && isUndecided(text);
    const isThere = text !== "" || (status !== "in_progress" && status !== "failed");
    return hasReply(view) && isThere && !isComing ? [replyItem(object, view, logprobs)] : [];
  }
  const call = callOf(view);
  if (call !== null) return [callItem(object, view, call), outputItem(object, view, [refusalPart(refusal)])];
  const said = text === "" ? [] : [outputText(text, logprobs)];
  return [outputItem(object, view, [...said, refusalPart(refusal)])];
}

/**
 * The response as it is now; one that moderation refused is incomplete. `logprobs` are known only to those who saw its
 * tokens.
 */
export function responseObject(object: string, view: TurnView, logprobs: WireLogProbability[] = []) {
  const { turn, parent, branch, status, options, createdMs, finishedMs } = view;
  const isRefused = refusalOf(view) !== null;
  return {
    id: formatId("response", { object, number: turn }),
    object: "response" as const,
    created_at: seconds(createdMs),
    completed_at: status === "completed" && finishedMs !== null ? seconds(finishedMs) : null,
    status: isRefused ? ("incomplete" as const) : status,
    error: status === "failed" && !isRefused ? responseError(view) : null,
    incomplete_details: incompleteDetails(view),
    instructions: splitMessages(view).instructions,
    model: options.model,
    output: outputOf(object, view, logprobs),
    previous_response_id: parent === null ? null : formatId("response", { object, number: parent }),
    conversation: branch === null ? null : { id: formatId("conversation", { object, number: branch }) },
    max_output_tokens: options.maxTokens,
    temperature: options.temperature,
    top_p: options.topP,
    top_logprobs: options.topLogProbabilities ?? 0,
    frequency_penalty: options.frequencyPenalty,
    presence_penalty: options.presencePenalty,
    text: { format: wireTextFormat(options.format) },
    ...wireTools(options.tools),
    truncation: options.truncation,
    store: options.store,
    background: options.background,
    // Required by the schemas of Open Responses and openai-node; there is nothing of the kind here.
    access_programs: null,
    reasoning: null,
    max_tool_calls: null,
    service_tier: "default" as const,
    user: null,
    safety_identifier: null,
    prompt_cache_key: null,
    metadata: view.metadata,
    usage: responseUsage(view),
    ...reportOf(view),
  };
}

export type ResponseObject = ReturnType<typeof responseObject>;

function incompleteDetails(view: TurnView) {
  if (refusalOf(view) !== null) return { reason: "content_filter" as const };
  return view.status === "incomplete" ? { reason: "max_output_tokens" as const } : null;
}

/** The failure in the few codes that clients know. */
function responseError(view: TurnView) {
  const { message, type, code } = wireError(turnError(view));
  if (code === "rate_limit_exceeded") return { code, message };
  return { code: type === "server_error" ? "server_error" : "invalid_prompt", message };
}
