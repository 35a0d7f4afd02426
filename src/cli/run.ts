// griffin run: replies on the terminal. A chat keeps its state between turns and reads only what is new.
import { once } from "node:events";
import readline from "node:readline";
import type { EdgeEngine } from "../engine/edge.ts";
import type { Turn } from "../engine/engine.ts";
import type { SamplingOptions } from "../engine/sampling.ts";
import { GriffinError } from "../errors.ts";
import { renderPrompt } from "../model/chat-template.ts";
import type { State } from "../model/state.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
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
}

/** Streams the reply to `--prompt`, or chats until end of input. */
export async function run(folder: string, options: RunOptions): Promise<void> {
  if ((options.prompt === undefined) === !options.chat) {
    throw new GriffinError("invalid_argument", "Say either --prompt TEXT or --chat.");
  }
  if (options.raw && options.chat)
    throw new GriffinError("invalid_argument", "--raw goes with --prompt, not with --chat.");
  const engine = await loadEngine(folder, { memoryLimitBytes: options.memory });
  if (engine.tokenizer === null) {
    throw new GriffinError(
      "not_found",
      `${folder} has no tokenizer.json, so there is no text to read or write: convert a folder that has one, or use "griffin logits".`,
    );
  }
  const conversation = createConversation(engine, engine.tokenizer, options);
  if (options.prompt !== undefined) await conversation.reply(options.prompt);
  else await chat(conversation);
}

interface TerminalConversation {
  reply(text: string): Promise<void>;
}

/** A conversation in this process: its tokens, and the state after them. */
function createConversation(engine: EdgeEngine, tokenizer: Tokenizer, options: RunOptions): TerminalConversation {
  const chatTokens = engine.chat;
  if (chatTokens === null && !options.raw) {
    throw new GriffinError("unsupported", "This checkpoint has no chat tokens: use --raw to continue a text.");
  }
  let state: State | undefined;
  let history: number[] = [];
  const render = (text: string) => {
    if (chatTokens === null || options.raw) return [engine.config.bosTokenId, ...tokenizer.encodeText(text)];
    const isFirst = state === undefined;
    const message = isFirst && options.system ? `${options.system}\n\n${text}` : text;
    const last = isFirst ? null : (history.at(-1) ?? null);
    return renderPrompt([{ role: "user", content: message }], tokenizer, chatTokens, last);
  };

  return {
    async reply(text) {
      const tokens = render(text);
      const cancel = new AbortController();
      const interrupt = () => cancel.abort();
      process.once("SIGINT", interrupt);
      const startMs = performance.now();
      try {
        const { maxTokens, stop } = options;
        const turn: Turn = {
          tokens,
          history,
          maxTokens,
          sampling: samplingOf(options),
          ...(state && { state }),
          ...(stop && { stop }),
        };
        const events = engine.generate(turn, cancel.signal);
        let event = await events.next();
        const firstTokenMs = performance.now() - startMs;
        const generated: number[] = [];
        for (; !event.done; event = await events.next()) {
          generated.push(event.value.token);
          await print(event.value.text);
        }
        await print(`${event.value.text}\n`);
        const totalMs = performance.now() - startMs;
        ({ state } = event.value);
        history = [...history, ...tokens, ...generated].slice(-engine.config.window);
        if (options.stats) {
          console.error(
            `[${event.value.finishReason}] read ${tokens.length} tokens (${perSecond(tokens.length, firstTokenMs)}), generated ` +
              `${generated.length} (${perSecond(generated.length, totalMs - firstTokenMs)}), position ${state.position}, state ${state.data.byteLength} bytes`,
          );
        }
      } finally {
        process.off("SIGINT", interrupt);
      }
    },
  };
}

async function chat(conversation: TerminalConversation): Promise<void> {
  const input = readline.createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal: process.stdin.isTTY,
  });
  const prompt = () => {
    if (process.stdin.isTTY) input.prompt();
  };
  if (process.stdin.isTTY) console.log("Say something. Ctrl-C stops a reply, Ctrl-D leaves.\n");
  prompt();
  for await (const line of input) {
    if (line.trim() !== "") await conversation.reply(line.trim());
    prompt();
  }
}

const perSecond = (count: number, ms: number) => `${((1000 * count) / ms).toFixed(0)} tokens/s`;

function samplingOf(options: RunOptions): Partial<SamplingOptions> {
  const { temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, seed } = options;
  const given = { temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, seed };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}
