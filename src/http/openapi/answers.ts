// The forms of answers, as the OpenAPI document tells them. Answers are made elsewhere, in plain code; that they have
// these forms is for the tests to show.
import { z } from "zod";
import { closedReasons, verifications } from "../../inbox/protocol.ts";

const seconds = z.int().describe("Unix time in seconds");
const count = z.int().min(0);
const metadata = z.record(z.string(), z.string());
const listOf = <T extends z.ZodType>(item: T) =>
  z.object({
    object: z.literal("list"),
    data: z.array(item),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  });

export const errorAnswer = named(
  "Error",
  z.object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().describe("The field at fault: `messages[0].role`"),
      code: z.string().describe("What programs compare"),
    }),
  }),
);

/** What a turn cost; our own fields of every answer. */
const report = {
  state: z
    .enum(["restored", "recomputed", "shared", "cold"])
    .nullable()
    .describe(
      "How the turn came to its state: read back; computed again because what was kept is gone; begun behind system texts that other chats begin with too; or from nothing",
    ),
  griffin: z
    .object({
      state_bytes: count,
      restored_tokens: count,
      computed_tokens: count,
      rows_written: count,
      bytes_written: count,
      placement: z
        .enum(["edge", "origin", "origin_prefill", "origin_then_edge", "both"])
        .nullable()
        .describe(
          "Where it ran: at the edge; at the origin; read at the origin and replied to at the edge; begun at the origin, which was lost, and ended at the edge; or, of several replies, to and fro. null where there was no reply",
        ),
    })
    .nullable()
    .describe("What was restored, computed and written; null until it is known"),
};

const wireToken = z.object({ token: z.string(), bytes: z.array(z.int()).nullable(), logprob: z.number() });
const logprob = wireToken.extend({ top_logprobs: z.array(wireToken) });

const chatUsage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: count }),
});
const chatLogprobs = z.object({ content: z.array(logprob), refusal: z.null() }).nullable();

export const chatCompletion = named(
  "ChatCompletion",
  z.object({
    id: z.string(),
    object: z.literal("chat.completion"),
    created: seconds,
    model: z.string(),
    choices: z.array(
      z.object({
        index: count,
        message: z.object({
          role: z.literal("assistant"),
          content: z.string().nullable().describe("Null beside a call of a tool, or a refusal"),
          refusal: z.string().nullable().describe("What moderation says instead of the reply"),
          tool_calls: z
            .array(
              z.object({
                id: z.string(),
                type: z.literal("function"),
                function: z.object({ name: z.string(), arguments: z.string() }),
              }),
            )
            .optional(),
        }),
        logprobs: chatLogprobs,
        finish_reason: z.enum(["stop", "length", "tool_calls", "content_filter"]),
      }),
    ),
    usage: chatUsage,
    ...report,
  }),
);

const tokenLists = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: z.array(count),
});

export const completion = named(
  "Completion",
  z.object({
    id: z.string(),
    object: z.literal("text_completion"),
    created: seconds,
    model: z.string(),
    choices: z.array(
      z.object({
        index: count,
        text: z.string(),
        logprobs: tokenLists.nullable().describe("Null before a prompt's first token: nothing comes before it"),
        finish_reason: z.enum(["stop", "length"]),
      }),
    ),
    usage: chatUsage,
    ...report,
  }),
);

const responseUsage = z.object({
  input_tokens: count,
  input_tokens_details: z.object({ cached_tokens: count, cache_write_tokens: count }),
  output_tokens: count,
  output_tokens_details: z.object({ reasoning_tokens: count }),
  total_tokens: count,
});

const outputText = z.object({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.unknown()),
  logprobs: z.array(logprob),
});
const refusal = z.object({ type: z.literal("refusal"), refusal: z.string() });
const inputText = z.object({ type: z.literal("input_text"), text: z.string() });
const itemStatus = z.enum(["in_progress", "completed", "incomplete"]);

const outputMessage = z.object({
  id: z.string(),
  type: z.literal("message"),
  role: z.literal("assistant"),
  status: itemStatus,
  content: z.array(z.union([outputText, refusal])),
});

const functionCall = z.object({
  id: z.string(),
  type: z.literal("function_call"),
  call_id: z.string().describe("What an answer to it names"),
  name: z.string(),
  arguments: z.string().describe("JSON"),
  status: itemStatus,
});

const status = z.enum(["in_progress", "completed", "incomplete", "cancelled", "failed"]);

export const response = named(
  "Response",
  z.object({
    id: z.string(),
    object: z.literal("response"),
    created_at: seconds,
    completed_at: seconds.nullable(),
    status,
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    incomplete_details: z.object({ reason: z.string() }).nullable(),
    instructions: z.string().nullable(),
    model: z.string(),
    output: z.array(z.union([outputMessage, functionCall])),
    previous_response_id: z.string().nullable(),
    conversation: z.object({ id: z.string() }).nullable(),
    max_output_tokens: count,
    temperature: z.number(),
    top_p: z.number(),
    top_logprobs: count,
    frequency_penalty: z.number(),
    presence_penalty: z.number(),
    text: z.object({ format: z.looseObject({ type: z.string() }) }),
    tools: z.array(z.unknown()),
    tool_choice: z.unknown(),
    parallel_tool_calls: z.boolean(),
    truncation: z.enum(["auto", "disabled"]),
    store: z.boolean(),
    background: z.boolean(),
    access_programs: z.null(),
    reasoning: z.null(),
    max_tool_calls: z.null(),
    service_tier: z.literal("default"),
    user: z.null(),
    safety_identifier: z.null(),
    prompt_cache_key: z.null(),
    metadata,
    usage: responseUsage.nullable(),
    ...report,
  }),
);

export const deletedResponse = z.object({ id: z.string(), object: z.literal("response"), deleted: z.literal(true) });

export const conversation = named(
  "Conversation",
  z.object({
    id: z.string(),
    object: z.literal("conversation"),
    created_at: seconds,
    metadata,
    parent: z.string().nullable().describe("The conversation it was forked from"),
    head: z.string().nullable().describe("Its last response"),
    expires_after: z.object({ anchor: z.literal("last_active_at"), seconds: count }).nullable(),
    expires_at: seconds.nullable().describe("When it goes unless it is used before; null for never"),
  }),
);

export const deletedConversation = z.object({
  id: z.string(),
  object: z.literal("conversation.deleted"),
  deleted: z.literal(true),
});

const ofResponse = { response_id: z.string() };
const inputMessage = z.object({
  id: z.string(),
  type: z.literal("message"),
  role: z.enum(["system", "developer", "user", "assistant"]),
  status: itemStatus,
  content: z.array(z.union([inputText, outputText])),
  ...ofResponse,
});
const functionCallOutput = z.object({
  id: z.string(),
  type: z.literal("function_call_output"),
  call_id: z.string(),
  output: z.string(),
  status: itemStatus,
  ...ofResponse,
});
const cost = {
  ...ofResponse,
  response_status: status,
  previous_response_id: z.string().nullable(),
  usage: responseUsage.nullable(),
  ...report,
};
const reply = outputMessage.extend(cost);
const replyCall = functionCall.extend(cost);
const inputCall = functionCall.extend(ofResponse);

const askedItems = [inputMessage, inputCall, functionCallOutput] as const;
export const conversationItem = named("ConversationItem", z.union([reply, replyCall, ...askedItems]));
export const conversationItems = named("ConversationItems", listOf(conversationItem));
export const inputItems = named("InputItems", listOf(z.union(askedItems)));

export const model = named(
  "Model",
  z.object({ id: z.string(), object: z.literal("model"), created: seconds, owned_by: z.string() }),
);
export const models = z.object({ object: z.literal("list"), data: z.array(model) });

export const inputTokens = z.object({ object: z.literal("response.input_tokens"), input_tokens: count });
export const tokens = z.object({ count, max_model_len: z.null(), tokens: z.array(count) });
export const text = z.object({ prompt: z.string(), text: z.string() });

const limits = z.object({
  requests_per_minute: count.nullable(),
  tokens_per_minute: count.nullable().describe("Tokens that run through the model: restored ones are not counted"),
  concurrency: count.nullable().describe("Replies in the making at once"),
});
export const tenant = named(
  "Tenant",
  z.object({ id: z.string(), object: z.literal("tenant"), created_at: seconds, name: z.string(), limits }),
);
export const tenants = listOf(tenant);
export const deletedTenant = z.object({
  id: z.string(),
  object: z.literal("tenant.deleted"),
  deleted: z.literal(true),
});
const keyFields = z.object({
  id: z.string(),
  object: z.literal("api_key"),
  name: z.string(),
  scopes: z.array(z.enum(["read", "write"])).describe("GET needs read, everything else write"),
  limits: limits.describe("Beside those of the tenant, which all of its keys share"),
  created_at: seconds,
  expires_at: seconds.nullable(),
  revoked_at: seconds.nullable(),
  last_used_at: seconds.nullable().describe("To the minute"),
  previous_secret_until: seconds.nullable().describe("Until then the secret before the last rotation is good as well"),
});
export const apiKey = named("ApiKey", keyFields);
export const newApiKey = named(
  "NewApiKey",
  keyFields.extend({ secret: z.string().describe("The key itself, which is never shown again") }),
);
export const apiKeys = listOf(apiKey);
export const usage = z.object({
  object: z.literal("list"),
  data: z.array(
    z.object({
      object: z.literal("usage"),
      day: z.string().describe("UTC"),
      key: z.string(),
      requests: count.describe("Those that ran tokens"),
      prompt_tokens: count,
      cached_tokens: count.describe("Of the prompt, restored and not computed"),
      completion_tokens: count,
    }),
  ),
});

const endpointFields = z.object({
  id: z.string(),
  object: z.literal("webhook_endpoint"),
  created_at: seconds,
  updated_at: seconds,
  name: z.string(),
  url: z.string(),
  event_types: z.array(z.string()),
  signing_secret_hint: z.string(),
  previous_secret_until: seconds.nullable().describe("Until then the secret before the last rotation signs as well"),
  status: z.enum(["enabled", "disabled"]),
  disabled_at: seconds.nullable(),
  disabled_reason: z
    .enum(["gone", "failing", "asked"])
    .nullable()
    .describe("It answered 410; it took nothing for days; or somebody wanted it so"),
});
const shownOnce = { signing_secret: z.string().describe("Shown this once") };
export const webhookEndpoint = named("WebhookEndpoint", endpointFields);
export const webhookEndpointWithSecret = named("WebhookEndpointWithSecret", endpointFields.extend(shownOnce));
export const webhookEndpoints = listOf(webhookEndpoint);
export const deletedWebhookEndpoint = z.object({
  id: z.string(),
  object: z.literal("webhook_endpoint.deleted"),
  deleted: z.literal(true),
});
export const eventTypes = z.object({ object: z.literal("list"), data: z.array(z.string()) });

const deliveryError = z
  .enum(["address_refused", "connection_failed", "timeout"])
  .nullable()
  .describe("Why there is no status");
const statusCode = z.int().nullable().describe("What was answered; null where nothing was");
const deliveryAttempts = z.array(
  z.object({ at: seconds, duration_ms: count, status_code: statusCode, error: deliveryError }),
);
export const webhookDelivery = named(
  "WebhookDelivery",
  z.object({
    id: z.string().describe("Of the event; the same in every attempt, as `webhook-id`"),
    object: z.literal("webhook_delivery"),
    type: z.string(),
    status: z.enum(["pending", "delivered", "failed"]),
    created_at: seconds,
    next_attempt_at: seconds.nullable(),
    attempts: deliveryAttempts,
  }),
);
export const webhookDeliveries = listOf(webhookDelivery);
export const webhookTest = z.object({
  object: z.literal("webhook_endpoint.test"),
  webhook_endpoint_id: z.string(),
  event_id: z.string(),
  event_type: z.string(),
  success: z.boolean().describe("Whether it answered at all"),
  delivered: z.boolean().describe("Whether it answered 2xx"),
  status_code: statusCode,
  error: deliveryError,
});
export const webhookReplay = z.object({
  object: z.literal("webhook_endpoint.replay"),
  webhook_endpoint_id: z.string(),
  count,
});
const signingFields = z.object({
  object: z.literal("webhook_signing_secret"),
  created_at: seconds,
  signing_secret_hint: z.string(),
  previous_secret_until: seconds.nullable(),
});
export const signingSecret = named("WebhookSigningSecret", signingFields);
export const newSigningSecret = named("NewWebhookSigningSecret", signingFields.extend(shownOnce));

const hookFields = z.object({
  id: z.string(),
  object: z.literal("hook"),
  created_at: seconds,
  updated_at: seconds,
  name: z.string(),
  status: z
    .enum(["open", "closed"])
    .describe("A hook is closed where the key that made it is good for nothing any more"),
  closed_reason: z.enum(closedReasons).nullable(),
  url: z.string().describe("Where the service posts to"),
  model: z.string(),
  instructions: z.string().nullable(),
  verification: z.object({
    type: z.enum(verifications),
    secret_hint: z.string(),
    previous_secret_until: seconds
      .nullable()
      .describe("Until then the secret before the last rotation is good as well"),
  }),
  conversation_key: z.string().nullable(),
  input: z.string(),
  max_output_tokens: count,
  reply: z.object({ type: z.enum(["none", "callback", "slack"]), url: z.string().nullable() }),
  signing_secret_hint: z.string().nullable(),
  previous_signing_secret_until: seconds.nullable(),
});
export const hook = named("Hook", hookFields);
export const hookWithSecrets = named(
  "HookWithSecrets",
  hookFields.extend({
    secret: z.string().optional().describe("Where it was made here; shown this once"),
    signing_secret: z.string().optional().describe("Of replies, where it was made just now; shown this once"),
  }),
);
export const hooks = listOf(hook);
export const deletedHook = z.object({ id: z.string(), object: z.literal("hook.deleted"), deleted: z.literal(true) });
const deliveryOfHook = {
  id: z.string().describe("As the service calls it"),
  object: z.literal("hook.delivery"),
  status: z.enum(["queued", "in_progress", "completed", "failed", "ignored"]),
};
export const hookReceipt = z.object(deliveryOfHook);
export const hookDeliveries = listOf(
  named(
    "HookDelivery",
    z.object({
      ...deliveryOfHook,
      created_at: seconds,
      finished_at: seconds.nullable(),
      conversation: z.string().nullable(),
      response: z.string().nullable(),
      error: z.object({ code: z.string(), message: z.string() }).nullable(),
      reply: z
        .enum(["none", "no_address", "pending", "delivered", "failed", "handed_over"])
        .describe(
          "Whether there is one, and whether it was taken; handed_over: it was sent, but the log of it is gone",
        ),
      reply_attempts: deliveryAttempts,
      reply_next_attempt_at: seconds.nullable(),
    }),
  ),
);
export const file = named(
  "File",
  z.object({
    id: z.string(),
    object: z.literal("file"),
    bytes: count,
    created_at: seconds,
    expires_at: seconds.optional().describe("When it is deleted by itself; absent for never"),
    filename: z.string(),
    purpose: z.enum(["batch", "batch_output"]),
    status: z.literal("processed"),
  }),
);
export const files = listOf(file);
export const deletedFile = z.object({ id: z.string(), object: z.literal("file"), deleted: z.literal(true) });

const time = seconds.optional();
export const batch = named(
  "Batch",
  z.object({
    id: z.string(),
    object: z.literal("batch"),
    endpoint: z.string(),
    errors: z
      .object({
        object: z.literal("list"),
        data: z.array(
          z.object({
            code: z.string(),
            message: z.string(),
            param: z.string().nullable(),
            line: z.int().min(1).nullable(),
          }),
        ),
      })
      .optional()
      .describe("Why the file as a whole could not be run"),
    input_file_id: z.string(),
    completion_window: z.literal("24h"),
    status: z.enum([
      "validating",
      "in_progress",
      "finalizing",
      "completed",
      "failed",
      "expired",
      "cancelling",
      "cancelled",
    ]),
    output_file_id: z.string().optional().describe("Answers, a line each, in no order: `custom_id` says to what"),
    error_file_id: z.string().optional().describe("Lines that were malformed, refused, or could not be answered"),
    created_at: seconds,
    in_progress_at: time,
    expires_at: seconds,
    finalizing_at: time,
    completed_at: time,
    failed_at: time,
    expired_at: time,
    cancelling_at: time,
    cancelled_at: time,
    request_counts: z.object({ total: count, completed: count, failed: count }),
    metadata,
  }),
);
export const batches = listOf(batch);

export const health = z.object({ status: z.literal("ok") });

/** A schema that the document keeps under a name. */
function named<T extends z.ZodType>(id: string, schema: T): T {
  return schema.meta({ id });
}
