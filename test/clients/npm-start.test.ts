// `npm start` as a user runs it, and openai's client against it: wrangler's own runtime around the same worker.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const dataDir = mkdtempSync(path.join(tmpdir(), "griffin-start-"));
const port = 10_000 + Math.floor(Math.random() * 20_000);
const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: "none", maxRetries: 0 });
const greedy = { model: "pocket", temperature: 0 };

let child: ChildProcess;
let said = "";

async function start(): Promise<void> {
  const env = { ...process.env, PORT: String(port), DATA_DIR: dataDir };
  child = spawn("npm", ["start"], { cwd: root, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", (text) => (said += text));
  await vi.waitFor(() => expect(said).toContain(`Griffin Edge is at http://127.0.0.1:${port}`), { timeout: 60_000 });
}

async function kill(): Promise<void> {
  const gone = new Promise((resolve) => void child.once("exit", resolve));
  if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  await gone;
  said = "";
}

beforeAll(start, 90_000);
afterAll(async () => {
  await kill();
  rmSync(dataDir, { recursive: true, force: true });
});

describe("npm start", () => {
  it("serves the page and the API", async () => {
    const page = await fetch(`http://127.0.0.1:${port}/`);
    expect(page.headers.get("content-type")).toMatch(/html/);
    expect(await page.text()).toMatch(/Griffin Edge/);
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(["pocket"]);
  });

  it("streams a chat, ends it with its client, and says errors in the client's own classes", async () => {
    const messages = [{ role: "user" as const, content: "Tell me a story about a fox." }];
    let text = "";
    const stream = await client.chat.completions.create({ ...greedy, messages, stream: true });
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    const whole = await client.chat.completions.create({ ...greedy, messages });
    expect(text).toBe(whole.choices[0]?.message.content);
    const cut = await client.chat.completions.create({ ...greedy, messages, stream: true });
    for await (const _ of cut) break;
    const error = await client.chat.completions.create({ ...greedy, model: "nope", messages }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
  });

  it("remembers a conversation over kill -9, and computes nothing again", async () => {
    const { id: conversation } = await client.conversations.create();
    const say = (input: string) => client.responses.create({ ...greedy, conversation, input });
    const first = await say("My name is Ada.");
    await kill();
    await start();
    const second = await say("What is my name?");
    expect(second.output_text).toBe("Your name is Ada.");
    expect(second.usage!.input_tokens_details.cached_tokens).toBe(first.usage!.total_tokens);
  }, 120_000);

  it("has the whole history restored when a chat completion sends it again", async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [];
    let known = 0;
    for (const content of ["My name is Eva.", "What is 7 plus 5?", "Spell garden.", "What is my name?"]) {
      messages.push({ role: "user", content });
      const { choices, usage } = await client.chat.completions.create({ ...greedy, messages });
      expect(usage!.prompt_tokens_details!.cached_tokens).toBe(known);
      known = usage!.total_tokens;
      messages.push({ role: "assistant", content: choices[0]!.message.content });
    }
    expect(messages.at(-1)!.content).toMatch(/Eva/);
  });
});
