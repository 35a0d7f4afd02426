// Every operation of the API. A test holds this list to the app's routes.
import { chatRequest } from "../chat-completions.ts";
import { completionRequest } from "../completions.ts";
import { eventsQuery } from "../conversation-events.ts";
import { createRequest, forkRequest, updateRequest } from "../conversations.ts";
import { appendRequest, listQuery } from "../items.ts";
import { responseRequest, retrieveQuery } from "../responses.ts";
import { importQuery } from "../states.ts";
import { detokenizeRequest, tokenizeRequest } from "../tokens.ts";
import * as answers from "./answers.ts";
import type { Operation } from "./operation.ts";

const idempotencyKey = {
  "Idempotency-Key": "Names the request for a day: sent again, it finds the turn that the first one began",
};

export const operations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/chat/completions",
    tag: "Chat",
    summary: "Reply to a whole history",
    description:
      "Of the history, what ends with the latest reply of ours is restored from its state; only the rest is computed. The turn ends when its client goes away.",
    headers: idempotencyKey,
    body: chatRequest,
    answer: answers.chatCompletion,
    streams: "with `stream`: one chunk an event, then `[DONE]`",
  },
  {
    method: "post",
    path: "/v1/completions",
    tag: "Completions",
    summary: "Go on with raw prompts",
    description:
      "No chat template, and nothing is kept. `echo` with `logprobs` tells the log-probability of every token of a prompt.",
    body: completionRequest,
    answer: answers.completion,
    streams: "with `stream`: one chunk an event, then `[DONE]`",
  },
  {
    method: "post",
    path: "/v1/responses",
    tag: "Responses",
    summary: "Begin a response",
    description:
      "In a conversation, after another response, or anew. It runs on when its client goes away, and is kept until it is deleted; with `store: false` it ends with its client, and nothing of it is kept.",
    headers: idempotencyKey,
    body: responseRequest,
    answer: answers.response,
    streams: "with `stream`: the events of OpenAI's Responses API, numbered, then `[DONE]`",
  },
  {
    method: "get",
    path: "/v1/responses/{id}",
    tag: "Responses",
    summary: "Get a response, or its events again",
    query: retrieveQuery,
    answer: answers.response,
    streams: "with `stream=true`: its events after `starting_after`, live while it runs",
  },
  {
    method: "post",
    path: "/v1/responses/{id}/cancel",
    tag: "Responses",
    summary: "Stop a response after the token that is being made",
    answer: answers.response,
  },
  {
    method: "get",
    path: "/v1/responses/{id}/input_items",
    tag: "Responses",
    summary: "List what a response was asked",
    query: listQuery,
    answer: answers.inputItems,
  },
  {
    method: "delete",
    path: "/v1/responses/{id}",
    tag: "Responses",
    summary: "Delete a response",
    description:
      "Its text is gone, its state cannot be reached. What was said in it stays in states that went on from it.",
    answer: answers.deletedResponse,
  },
  {
    method: "post",
    path: "/v1/responses/input_tokens",
    tag: "Responses",
    summary: "Count the tokens that a response would read",
    body: responseRequest,
    answer: answers.inputTokens,
  },
  {
    method: "post",
    path: "/v1/conversations",
    tag: "Conversations",
    summary: "Make a conversation",
    headers: idempotencyKey,
    body: createRequest,
    answer: answers.conversation,
  },
  {
    method: "get",
    path: "/v1/conversations/{id}",
    tag: "Conversations",
    summary: "Get a conversation",
    answer: answers.conversation,
  },
  {
    method: "post",
    path: "/v1/conversations/{id}",
    tag: "Conversations",
    summary: "Change its metadata",
    body: updateRequest,
    answer: answers.conversation,
  },
  {
    method: "delete",
    path: "/v1/conversations/{id}",
    tag: "Conversations",
    summary: "Delete a conversation, and all that no fork of it needs",
    answer: answers.deletedConversation,
  },
  {
    method: "get",
    path: "/v1/conversations/{id}/items",
    tag: "Conversations",
    summary: "List what was said",
    query: listQuery,
    answer: answers.conversationItems,
  },
  {
    method: "post",
    path: "/v1/conversations/{id}/items",
    tag: "Conversations",
    summary: "Put items into a conversation",
    description: "At most 20, without asking for a reply: the next response reads them. It may have an empty `input`.",
    headers: idempotencyKey,
    body: appendRequest,
    answer: answers.conversationItems,
  },
  {
    method: "get",
    path: "/v1/conversations/{id}/items/{item}",
    tag: "Conversations",
    summary: "Get an item",
    answer: answers.conversationItem,
  },
  {
    method: "delete",
    path: "/v1/conversations/{id}/items/{item}",
    tag: "Conversations",
    summary: "Delete an item",
    description:
      "Its text goes from this conversation and every fork that shares it, with all states that had read it: the next response is computed again from the texts that are left, and says `recomputed`. A fork that was made in the middle of a request has a copy of what came before.",
    answer: answers.conversation,
  },
  {
    method: "get",
    path: "/v1/conversations/{id}/events",
    tag: "Conversations",
    summary: "Follow the response that runs, or read the last one again",
    description:
      "The events of the Responses API as server-sent events with ids, for `EventSource`. `Last-Event-ID` gets what comes after that event: whoever lost the connection misses nothing.",
    query: eventsQuery,
    headers: { "Last-Event-ID": "The id of the last event that is known" },
    answer: "text/event-stream",
    nothing: "Nothing was replied yet, or all of it is known",
  },
  {
    method: "post",
    path: "/v1/conversations/{id}/fork",
    tag: "Conversations",
    summary: "Branch a conversation at any response or item",
    description:
      "The branch ends with that response, or with that item; `response_id` null: before everything; neither: at its end. The branches share all that was before. To have a message answered anew, fork at it and ask for a response with an empty `input`; to change it, fork at the item before it.",
    headers: idempotencyKey,
    body: forkRequest,
    answer: answers.conversation,
  },
  {
    method: "get",
    path: "/v1/conversations/{id}/state",
    tag: "Conversations",
    summary: "Take the model's state out of a conversation, as a safetensors file",
    description:
      "The state after its last response: other conversations, on any server with the same checkpoint, go on from it. It is made of what was said: who has it may learn from it what that was.",
    answer: "application/octet-stream",
  },
  {
    method: "put",
    path: "/v1/conversations/{id}/state",
    tag: "Conversations",
    summary: "Put such a state into a conversation",
    description:
      "The conversation goes on from it; what was said in it before is not part of it any more. The texts behind the state are not in it: no item shows them. `invalid_state` where the file is damaged or another model's.",
    query: importQuery,
    file: "application/octet-stream",
    answer: answers.conversation,
  },
  {
    method: "get",
    path: "/v1/models",
    tag: "Models",
    summary: "List the models, the default first",
    answer: answers.models,
  },
  { method: "get", path: "/v1/models/{id}", tag: "Models", summary: "Get a model", answer: answers.model },
  {
    method: "post",
    path: "/v1/tokenize",
    tag: "Tokens",
    summary: "The tokens of a text, a raw prompt or a chat",
    description: "Also at `/tokenize`.",
    body: tokenizeRequest,
    answer: answers.tokens,
  },
  {
    method: "post",
    path: "/v1/detokenize",
    tag: "Tokens",
    summary: "The text of tokens",
    description: "Also at `/detokenize`.",
    body: detokenizeRequest,
    answer: answers.text,
  },
  { method: "get", path: "/health", tag: "Server", summary: "Whether the server answers", answer: answers.health },
  {
    method: "get",
    path: "/metrics",
    tag: "Server",
    summary: "Counters, in Prometheus' text format",
    answer: "text/plain",
  },
  { method: "get", path: "/openapi.json", tag: "Server", summary: "This document", answer: "application/json" },
  {
    method: "get",
    path: "/transparency",
    tag: "Server",
    summary: "What is kept of what people say, and who sees it",
    answer: "text/html",
  },
  { method: "get", path: "/docs", tag: "Server", summary: "This document as a page", answer: "text/html" },
];
