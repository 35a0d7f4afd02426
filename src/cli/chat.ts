// A chat on the terminal, a line a message. Ctrl-C ends the reply that runs, or at the prompt the chat; Ctrl-D ends the
// chat after the reply that runs. Where input is no terminal its lines are messages, and its end is the end of the chat.
import readline from "node:readline";

/** Answers messages until end of input. `reply` shall end soon once its signal is aborted. */
export async function chat(reply: (text: string, signal: AbortSignal) => Promise<void>): Promise<void> {
  const terminal = process.stdin.isTTY && process.stdout.isTTY;
  const input = readline.createInterface({ input: process.stdin, output: process.stdout, terminal });
  let isOpen = true;
  let running: AbortController | undefined;
  input.once("close", () => {
    isOpen = false;
    if (terminal && !running) console.log(); // leaves the line of the prompt
  });
  const interrupt = () => (running ? running.abort() : input.close());
  // readline reads a terminal raw: there Ctrl-C is a key, and the signal comes only from elsewhere or after Ctrl-D.
  input.on("SIGINT", interrupt);
  process.on("SIGINT", interrupt);

  const prompt = () => {
    if (terminal && isOpen) input.prompt();
  };
  if (terminal) console.log("Say something. Ctrl-C stops a reply or leaves, Ctrl-D leaves.\n");
  prompt();
  try {
    for await (const line of input) {
      running = new AbortController();
      if (line.trim() !== "") await reply(line.trim(), running.signal);
      running = undefined;
      prompt();
    }
  } finally {
    process.off("SIGINT", interrupt);
    input.close();
  }
}
