// griffin run: replies on the terminal, to one prompt or to a chat.
import { once } from "node:events";
import type { SamplingOptions } from "../engine/sampling.ts";
import { GriffinError } from "../errors.ts";
import { chat } from "./chat.ts";
import { createConversation, type Conversation } from "./conversation.ts";
import { loadEngine } from "./engine.ts";

export interface RunOptions extends Partial<SamplingOptions> {
  prompt?: string;
  chat?: boolean;
  raw?: boolean;
  system?: string;
  maxTokens: number;
  stop?: string[];
  memory?: number;
  stats?: boolean;
  threads?: number;
}

/** Streams the reply to `--prompt`, or chats until end of input. */
export async function run(folder: string, options: RunOptions): Promise<void> {
  if ((options.prompt === undefined) === !options.chat) {
    throw new GriffinError("invalid_argument", "Say either --prompt TEXT or --chat.");
  }
  if (options.raw && options.chat)
    throw new GriffinError("invalid_argument", "--raw goes with --prompt, not with --chat.");
  const engine = await loadEngine(folder, { memoryLimitBytes: options.memory, threads: options.threads });
  if (engine.tokenizer === null) {
    throw new GriffinError(
      "not_found",
      `${folder} has no tokenizer.json, so there is no text to read or write: convert a folder that has one, or use "griffin logits".`,
    );
  }
  const conversation = createConversation(engine, engine.tokenizer, { ...options, sampling: samplingOf(options) });
  const reply = async (text: string, signal: AbortSignal) => {
    await print(conversation, text, signal, options.stats ?? false);
  };
  if (options.prompt === undefined) return chat(reply);

  const cancel = new AbortController();
  const interrupt = () => cancel.abort();
  process.once("SIGINT", interrupt);
  await reply(options.prompt, cancel.signal).finally(() => process.off("SIGINT", interrupt));
}

/** Prints a reply as it comes. */
async function print(conversation: Conversation, text: string, signal: AbortSignal, stats: boolean): Promise<void> {
  const startMs = performance.now();
  const events = conversation.reply(text, signal);
  let event = await events.next();
  const firstTokenMs = performance.now() - startMs;
  for (; !event.done; event = await events.next()) await write(event.value.text);
  await write(`${event.value.text}\n`);
  if (!stats) return;
  const totalMs = performance.now() - startMs;
  const { finishReason, promptTokens, completionTokens, state } = event.value;
  console.error(
    `[${finishReason}] read ${promptTokens} tokens (${perSecond(promptTokens, firstTokenMs)}), generated ` +
      `${completionTokens} (${perSecond(completionTokens, totalMs - firstTokenMs)}), position ${state.position}, state ${state.data.byteLength} bytes`,
  );
}

const perSecond = (count: number, ms: number) => `${((1000 * count) / ms).toFixed(0)} tokens/s`;

async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}

function samplingOf(options: RunOptions): Partial<SamplingOptions> {
  const { temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, seed } = options;
  const given = { temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, seed };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
