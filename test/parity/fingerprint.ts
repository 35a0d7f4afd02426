// The fingerprint of pocket: the SHA-256 of its logits over 64 fixed tokens, one literal per format, the same in Node, in
// workerd and in chromium. Runs in all three: conversion, engine and state go through it, nothing of Node does.
import { convert } from "../../src/checkpoint/convert.ts";
import type { Format } from "../../src/model/weights.ts";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { opener, source, target, type Folder } from "../checkpoint/folders.ts";

export const fingerprints: Record<Format, string> = {
  f32: "1cc6e3a3ecd717c43c5109814469ba130a71e2c603d28c5b377acec7cdfdca72",
  bf16: "1cc6e3a3ecd717c43c5109814469ba130a71e2c603d28c5b377acec7cdfdca72",
  int8: "25086470d5ea9baff8caf3a74de465f6ce2876199996255fb744ce4efcb0edc1",
  int4: "812af013fd86148c7844078d4da5cbb301f8e7c96d750e6a2f8e985c3a6ded77",
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
