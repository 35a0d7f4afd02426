// What the edge makes of chats, for the recipes' tests: render.ts TOKENIZER CHATS.json prints the ids of each chat, a list
// of messages, up to where the model answers.
import { readFileSync } from "node:fs";
import { type ChatMessage, renderPrompt } from "../../src/model/chat-template.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";

const [tokenizerFile, chatsFile] = process.argv.slice(2);
const tokenizer = new Tokenizer(JSON.parse(readFileSync(tokenizerFile!, "utf8")));
const chats: ChatMessage[][] = JSON.parse(readFileSync(chatsFile!, "utf8"));
const tokens = {
  bosTokenId: tokenizer.idOf("<bos>")!,
  startOfTurnTokenId: tokenizer.idOf("<start_of_turn>")!,
  endOfTurnTokenId: tokenizer.idOf("<end_of_turn>")!,
};
console.log(JSON.stringify(chats.map((messages) => renderPrompt(messages, tokenizer, tokens))));
