// A chat on a real terminal, where Ctrl-C and Ctrl-D are keys. Python's pty gives us one.
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { griffin, griffinOnTerminal } from "./program.ts";

const [ctrlC, ctrlD] = ["\x03", "\x04"];
const hasTerminal = spawnSync("python3", ["-c", "import pty"]).status === 0;
const prompt = /\[0J> /;
/** What was said is ever likelier to be said again: a story that begins like this does not end by itself. */
const endless = ["--temperature", "0", "--frequency-penalty", "-2", "--max-tokens", "1000000", "--stats"];
const story = "Tell me a story about a fox.";
const statsOf = (text: string) =>
  [...text.matchAll(/\[(\w+)\] read (\d+) .* generated (\d+) .* position (\d+)/g)].map(
    ([, finishReason, read, generated, position]) => ({
      finishReason,
      position: Number(position),
      added: Number(read) + Number(generated),
    }),
  );

describe("griffin run --chat on a terminal", () => {
  let terminal: ReturnType<typeof griffinOnTerminal> | undefined;
  afterEach(() => terminal?.kill());
  const chat = (...options: string[]) =>
    (terminal = griffinOnTerminal(["run", "models/pocket", "--chat", ...endless, ...options]));

  it("ends the reply at Ctrl-C, keeps what was said, asks again, and leaves at the next Ctrl-C", async ({ skip }) => {
    skip(!hasTerminal && !process.env["CI"], "needs python3 with its pty module");
    const { ended, sees, type } = chat();
    await sees(prompt);
    for (const message of [story, "Count from 1 to 99."]) {
      type(`${message}\r`);
      await sees(new RegExp(`${message}\\s+\\S[^]{20}`));
      type(ctrlC);
      await sees(/\[cancelled\].*\s+/);
      await sees(prompt);
    }
    type(ctrlC);
    const { status, stdout } = await ended;
    expect(status).toBe(0);
    const [first, second, ...more] = statsOf(stdout);
    expect(more).toEqual([]);
    expect(first).toMatchObject({ finishReason: "cancelled", position: first!.added });
    expect(second).toMatchObject({ finishReason: "cancelled", position: first!.added + second!.added });
    expect(first!.added).toBeLessThan(1_000_000);
  });

  it("finishes the reply before it leaves at Ctrl-D", async ({ skip }) => {
    skip(!hasTerminal && !process.env["CI"], "needs python3 with its pty module");
    const { ended, sees, type } = chat("--max-tokens", "150");
    await sees(prompt);
    type(`${story}\r`);
    await sees(/a fox\.\s+\S[^]{20}/);
    type(ctrlD);
    const { status, stdout } = await ended;
    expect(stdout).not.toMatch(/ERR_|Error/);
    expect(statsOf(stdout)).toMatchObject([{ finishReason: "length" }]);
    expect(status).toBe(0);
  });

  it("ends the last reply, too, at a Ctrl-C after Ctrl-D", async ({ skip }) => {
    skip(!hasTerminal && !process.env["CI"], "needs python3 with its pty module");
    const { ended, sees, type } = chat();
    await sees(prompt);
    type(`${story}\r`);
    await sees(/a fox\.\s+\S[^]{20}/);
    type(ctrlD);
    await sleep(500); // two keys in one moment would be one read, and the second lost with the input that the first closes
    type(ctrlC);
    const { status, stdout } = await ended;
    expect(statsOf(stdout)).toMatchObject([{ finishReason: "cancelled" }]);
    expect(status).toBe(0);
  });

  it("leaves at Ctrl-D at the prompt", async ({ skip }) => {
    skip(!hasTerminal && !process.env["CI"], "needs python3 with its pty module");
    const { ended, sees, type } = chat();
    await sees(prompt);
    type(ctrlD);
    expect(await ended).toMatchObject({ status: 0, stderr: "" });
  });
});

describe("griffin run --chat on a pipe", () => {
  it("takes every line for a message, skips empty ones, and prints no prompt", async () => {
    const options = ["run", "models/pocket", "--chat", "--max-tokens", "3", "--stats"];
    const { status, stdout, stderr } = await griffin(options, "Hello.\n\nHello again.");
    expect(status).toBe(0);
    expect(stdout).not.toMatch(/>|Say something/);
    expect(statsOf(stderr)).toMatchObject([{ finishReason: "length" }, { finishReason: "length" }]);
  });
});
