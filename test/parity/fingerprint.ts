// The fingerprint of pocket: the SHA-256 of its logits over 64 fixed tokens, one literal per format, the same in Node, in
// workerd and in chromium. Runs in all three: conversion, engine and state go through it, nothing of Node does.
import { convert } from "../../src/checkpoint/convert.ts";
import type { Format } from "../../src/model/weights.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { opener, source, target, type Folder } from "../checkpoint/folders.ts";

export const fingerprints: Record<Format, string> = {
  f32: "fd9abd9432320376373beefc22142ce3b3ae67f29d86387b303174c682b64210",
  bf16: "fd9abd9432320376373beefc22142ce3b3ae67f29d86387b303174c682b64210",
  int8: "4d5a97dcc5bbfa8bd2a599d633e15553c25417bb303af2d00c19755060f96310",
  int4: "f16e8c16ef1e3e0580860726ae048a7f694b54959d67b28a668c03a8b0e8d048",
};

const sourceFiles = ["config.json", "model.safetensors", "tokenizer.json"];
/** Part of a dialogue; every 16th position starts another chunk, so a state is saved and restored on the way. */
const text = "My name is Ada.\nTell me a story about a fox.\nWhat is my name?\nSpell garden.\nWhat is 7 plus 5?\n";

/** Converts the pocket model, whose source files `read` gives, and returns the hash of its logits in hexadecimal. */
export async function fingerprint(
  module: WebAssembly.Module,
  read: (file: string) => Promise<Uint8Array>,
  format: Format,
): Promise<string> {
  const huggingFace: Folder = new Map();
  for (const file of sourceFiles) huggingFace.set(file, await read(file));
  const folder: Folder = new Map();
  await convert(source(huggingFace), target(folder), { format });
  const engine = await EdgeEngine.load(module, opener(folder, 100_000), { logitsTokens: 16 });

  const { config, tokenizer } = engine;
  const words = [config.bosTokenId, ...(tokenizer?.encodeText(text.repeat(2)) ?? [])].slice(0, 64);
  if (words.length !== 64) throw new Error(`expected 64 tokens, got ${words.length}`);
  const logits = new Float32Array(64 * config.vocabSize);
  let state;
  for (let at = 0; at < 64; at += 16) {
    const chunks = engine.score(words.slice(at, at + 16), { state });
    let next = await chunks.next();
    if (!next.done) logits.set(next.value, at * config.vocabSize);
    while (!next.done) next = await chunks.next();
    state = next.value;
  }
  const digest = await crypto.subtle.digest("SHA-256", logits);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
