// What test/browser loads into a page: the engine and the fingerprint, put where the test can call them.
import { EdgeEngine } from "../../src/engine/edge.ts";
import { supportsRelaxedSimd } from "../../src/engine/relaxed-simd.ts";
import { renderPrompt } from "../../src/model/chat-template.ts";
import type { Format } from "../../src/model/weights.ts";
import { fingerprint } from "../parity/fingerprint.ts";

const get = async (path: string) => {
  const response = await fetch(path);
  if (!response.ok || response.body === null) throw new Error(`${path}: status ${response.status}`);
  return response;
};
const kernelModule = (isPlain = !supportsRelaxedSimd()) =>
  WebAssembly.compileStreaming(fetch(isPlain ? "/griffin.wasm" : "/griffin-relaxed.wasm"));

/** The fingerprint of pocket in a format. */
async function pageFingerprint(format: Format, isPlain: boolean): Promise<string> {
  return fingerprint(await kernelModule(isPlain), async (file) => (await get(`/pocket/${file}`)).bytes(), format);
}

/** Pocket's reply to a message, from the built checkpoint. */
async function reply(message: string): Promise<string> {
  const engine = await EdgeEngine.load(await kernelModule(), async (name) => {
    const { body } = await get(`/pocket/${name}`);
    if (body === null) throw new Error(`${name} is empty`);
    return body;
  });
  if (engine.tokenizer === null || engine.chat === null) throw new Error("pocket has a tokenizer and chat tokens");
  const tokens = renderPrompt([{ role: "user", content: message }], engine.tokenizer, engine.chat);
  let text = "";
  for await (const event of engine.generate({ tokens, sampling: { temperature: 0 } })) text += event.text;
  return text;
}

Object.assign(globalThis, { griffin: { pageFingerprint, reply } });
