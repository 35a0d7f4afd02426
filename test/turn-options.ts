// The options of a turn that asks for nothing special, as the HTTP layer fills them in.
import type { TurnOptions } from "../src/conversation/protocol.ts";

export const plainOptions: TurnOptions = {
  model: "pocket",
  maxTokens: 1024,
  stop: [],
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  repetitionPenalty: 1,
  logitBias: [],
  seed: "7",
  topLogProbabilities: null,
  background: false,
  format: null,
  store: true,
  truncation: "disabled",
  tools: null,
  sharedBy: null,
  chargedTo: null,
  notify: null,
  isBatch: false,
};
