// The engine in real workerd: the module precompiled, the models as static assets.
import { env } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import plainModule from "../../dist/griffin.wasm";
import kernelModule from "../../dist/griffin-relaxed.wasm";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { GriffinError } from "../../src/errors.ts";
import { renderPrompt } from "../../src/model/chat-template.ts";
import type { State } from "../../src/model/state.ts";
import { formats } from "../../src/model/weights.ts";
import { fingerprint, fingerprints } from "../parity/fingerprint.ts";

async function asset(name: string): Promise<Response> {
  const response = await env.ASSETS.fetch(`https://assets.invalid/pocket/${name}`);
  if (!response.ok) throw new GriffinError("not_found", `no asset pocket/${name}: status ${response.status}`);
  return response;
}

async function openAsset(name: string): Promise<ReadableStream<Uint8Array>> {
  const { body } = await asset(name);
  if (body === null) throw new GriffinError("not_found", `asset pocket/${name} is empty`);
  return body;
}

describe("the logits of pocket in workerd", () => {
  it.each(formats)("are the same bits as everywhere, in %s", async (format) => {
    const read = async (file: string) => (await asset(file)).bytes();
    for (const module of [plainModule, kernelModule]) {
      expect(await fingerprint(module, read, format)).toBe(fingerprints[format]);
    }
  });
});

describe("the engine in workerd", () => {
  it("loads the built checkpoint and chats, each turn from the state of the last", async () => {
    const engine = await EdgeEngine.load(kernelModule, openAsset);
    const { tokenizer, chat } = engine;
    if (tokenizer === null || chat === null) throw new Error("pocket has a tokenizer and chat tokens");
    let state: State | undefined;
    let last: number | null = null;
    let text = "";
    for (const message of [
      "My name is Ada.",
      "What is 7 plus 5?",
      "Tell me a story about a fox.",
      "What is my name?",
    ]) {
      const tokens = renderPrompt([{ role: "user", content: message }], tokenizer, chat, last);
      const events = engine.generate({ tokens, state, sampling: { temperature: 0 } });
      text = "";
      let next = await events.next();
      for (; !next.done; next = await events.next()) {
        text += next.value.text;
        last = next.value.token;
      }
      text += next.value.text;
      ({ state } = next.value);
      expect(state.data.byteLength).toBe(45_056);
    }
    expect(text).toMatch(/Ada/);
  });
});
