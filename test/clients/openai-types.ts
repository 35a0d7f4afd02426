// What openai's client promises its users to find in answers: the types that openai-shapes.ts makes schemas of.
import type { Batch, ChatCompletion, ChatCompletionChunk, Completion, FileObject, Model } from "openai/resources";
import type { Conversation, ConversationDeletedResource, ConversationItemList } from "openai/resources/conversations";
import type { ResponseItemList } from "openai/resources/responses/input-items";
import type { Response, ResponseStreamEvent } from "openai/resources/responses/responses";
import type {
  DeletedWebhookEndpoint,
  UnwrapWebhookEvent,
  WebhookEndpoint,
  WebhookEndpointList,
  WebhookEndpointWithSecret,
  WebhookEventTypeList,
} from "openai/resources/webhooks/webhooks";

export interface Answers {
  chatCompletion: ChatCompletion;
  chatCompletionChunk: ChatCompletionChunk;
  completion: Completion;
  model: Model;
  file: FileObject;
  batch: Batch;
  response: Response;
  responseEvent: ResponseStreamEvent;
  inputItems: ResponseItemList;
  conversation: Conversation;
  conversationDeleted: ConversationDeletedResource;
  conversationItems: ConversationItemList;
  webhookEndpoint: WebhookEndpoint;
  webhookEndpointWithSecret: WebhookEndpointWithSecret;
  webhookEndpointList: WebhookEndpointList;
  deletedWebhookEndpoint: DeletedWebhookEndpoint;
  webhookEventTypeList: WebhookEventTypeList;
  webhookEvent: UnwrapWebhookEvent;
}
