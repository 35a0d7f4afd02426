// The terminal's conversation with the real engine: what it goes on from after a message that was read only in part.
import { describe, expect, it } from "vitest";
import { createConversation, type Conversation } from "../../src/cli/conversation.ts";
import { renderPrompt } from "../../src/model/chat-template.ts";
import { checkpointOf, engineOf, reply } from "../parity/models.ts";
import { readGolden } from "../reference/golden.ts";

async function finish(events: ReturnType<Conversation["reply"]>) {
  const tokens: number[] = [];
  let next = await events.next();
  for (; !next.done; next = await events.next()) tokens.push(next.value.token);
  return { tokens, result: next.value };
}

describe("a conversation", () => {
  it("remembers of a cancelled message the tokens that were read, and no others", async () => {
    const engine = await engineOf(await checkpointOf(readGolden("pocket").folder, "bf16"), { chunkTokens: 8 });
    const [tokenizer, chat] = [engine.tokenizer!, engine.chat!];
    // The penalty makes a reply depend on every token that the conversation believes it has read.
    const options = { maxTokens: 20, sampling: { temperature: 0, repetitionPenalty: 3 } };
    const conversation = createConversation(engine, tokenizer, options);
    const message = "Hello.";
    // Longer than an engine reads before it lets others in. It ends with what will be said next, as it was not read.
    const long = `${"Tell me a story. ".repeat(60)}Hi there! What can I do for you?`;

    const cancel = new AbortController();
    const cancelled = finish(conversation.reply(long, cancel.signal));
    setImmediate(() => cancel.abort());
    const { result: first } = await cancelled;
    const prompt = renderPrompt([{ role: "user", content: long }], tokenizer, chat);
    const read = prompt.slice(0, first.promptTokens);
    expect(first).toMatchObject({ finishReason: "cancelled", completionTokens: 0 });
    expect(first.state.position).toBe(read.length);
    expect([read.length > 0, read.length < prompt.length - 8]).toEqual([true, true]);

    const { tokens } = await finish(conversation.reply(message));
    const turn = {
      ...options,
      state: first.state,
      tokens: renderPrompt([{ role: "user", content: message }], tokenizer, chat, read.at(-1)),
    };
    expect(tokens).toEqual((await reply(engine, { ...turn, history: read })).tokens);
    expect(tokens).not.toEqual((await reply(engine, { ...turn, history: prompt })).tokens);
  });
});
